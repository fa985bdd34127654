#include "mobo_dense_body.h"

void mobo_dense_w4(const mobo_dense *layer, const int8_t *input, int8_t *output) {
  mobo_multiply_rows(layer, input, output, mobo_dot_4x1_w4, mobo_dot_2x1_w4, MOBO_OFFSET_W4, 4);
}
