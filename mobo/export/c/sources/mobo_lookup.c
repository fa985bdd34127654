#include "mobo_elementwise.h"

void mobo_lookup_s8(const mobo_lookup *layer, const int8_t *input, int8_t *output) {
  const int8_t *const end = input + layer->elements;
  while (input != end) {
    *output++ = layer->table[128 + *input++];
  }
}
