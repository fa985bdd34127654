#include "mobo_dense_body.h"
#include "mobo_dot.h"

void mobo_dense_w4(const mobo_dense *layer, const int8_t *input, int8_t *output) {
  const int32_t excess = MOBO_OFFSET_W4 * mobo_sum(input, layer->in_channels);
  mobo_multiply_rows(layer, input, output, mobo_dot_4x1_w4, mobo_dot_2x1_w4, 4, excess);
}
