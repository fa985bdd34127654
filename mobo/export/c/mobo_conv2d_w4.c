#include "mobo_conv2d_body.h"

void mobo_conv2d_w4(const mobo_conv2d *layer, const int8_t *input, int8_t *output, int8_t *columns) {
  mobo_convolve(layer, input, output, columns, mobo_dot_2x2_w4, MOBO_OFFSET_W4, 4);
}
