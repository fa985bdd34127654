#include "mobo_max_pool_body.h"

void mobo_max_pool(const mobo_pool *layer, const int8_t *input, int8_t *output) { mobo_maximum(layer, input, output); }
