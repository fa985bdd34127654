#include "mobo_elementwise.h"

void mobo_rescale_any(const mobo_rescale *layer, const void *input, void *output) {
  const int8_t *const bytes = input;
  const int16_t *const halves = input;
  int32_t i;
  for (i = 0; i < layer->elements; ++i) {
    const int32_t centred = (layer->from_int16 ? halves[i] : bytes[i]) - layer->input_zero_point;
    const int64_t value = (int64_t)mobo_multiply(centred, layer->mantissa, layer->shift) + layer->zero_point;
    const int32_t clamped = (int32_t)(value < layer->low ? layer->low : value > layer->high ? layer->high : value);
    if (layer->to_int16) {
      ((int16_t *)output)[i] = (int16_t)clamped;
    } else {
      ((int8_t *)output)[i] = (int8_t)clamped;
    }
  }
}
