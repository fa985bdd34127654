#include "mobo_elementwise.h"

void mobo_rescale_s8(const mobo_rescale *layer, const int8_t *input, int8_t *output) {
  const int8_t *const end = input + layer->elements;
  while (input != end) {
    const int32_t centred = *input++ - layer->input_zero_point;
    const int64_t value = (int64_t)mobo_multiply(centred, layer->mantissa, layer->shift) + layer->zero_point;
    *output++ = (int8_t)(value < layer->low ? layer->low : value > layer->high ? layer->high : value);
  }
}
