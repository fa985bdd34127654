#define MOBO_INT16
#include "mobo_max_pool_body.h"

void mobo_max_pool_s16(const mobo_pool *layer, const int16_t *input, int16_t *output) {
  mobo_maximum(layer, input, output);
}
