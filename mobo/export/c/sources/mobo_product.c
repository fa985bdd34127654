#include "mobo_elementwise.h"

void mobo_product_s8(const mobo_product *layer, const int8_t *first, const int8_t *second, int8_t *output) {
  int32_t i, j = 0;
  for (i = 0; i < layer->elements; ++i) {
    const int32_t product = (first[i] - layer->first_zero_point) * (second[j] - layer->second_zero_point);
    const int64_t value = (int64_t)mobo_multiply(product, layer->mantissa, layer->shift) + layer->zero_point;
    output[i] = (int8_t)(value < layer->low ? layer->low : value > layer->high ? layer->high : value);
    if (++j == layer->period) {
      j = 0;
    }
  }
}
