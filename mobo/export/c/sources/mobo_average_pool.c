#include "mobo_average_pool_body.h"

void mobo_average_pool(const mobo_pool *layer, const int8_t *input, int8_t *output) {
  mobo_average(layer, input, output);
}
