#define MOBO_INT16
#include "mobo_average_pool_body.h"

void mobo_average_pool_s16(const mobo_pool *layer, const int16_t *input, int16_t *output) {
  mobo_average(layer, input, output);
}
