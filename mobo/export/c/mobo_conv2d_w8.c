#include "mobo_conv2d_body.h"

void mobo_conv2d_w8(const mobo_conv2d *layer, const int8_t *input, int8_t *output, int8_t *columns) {
  mobo_convolve(layer, input, output, columns, mobo_dot_2x2_w8, 0, 8);
}
