#include "mobo_conv2d_body.h"
#include "mobo_dot.h"

MOBO_INLINE void mobo_two_w4(const mobo_conv2d *layer, const int8_t *first, const int8_t *second, int8_t *first_output,
                             int8_t *second_output) {
  const int length = mobo_length(layer);
  const int32_t excess = MOBO_OFFSET_W4 * mobo_sum(first, length);
  const int32_t second_excess = MOBO_OFFSET_W4 * mobo_sum(second, length);
  mobo_two_positions(layer, first, second, first_output, second_output, mobo_dot_2x2_w4, 4, excess, second_excess);
}

#ifndef MOBO_PACKED
void mobo_conv2d_w4(const mobo_conv2d *layer, const int8_t *input, int8_t *output, int8_t *columns) {
  mobo_convolve(layer, input, output, columns, mobo_two_w4);
}
#else
/* Layers with plain weights and with packed ones share one loop. */
static void mobo_tiles(const mobo_conv2d *layer, mobo_unpack unpack, int channels, const int8_t *input, int8_t *output,
                       int8_t *scratch) {
  mobo_convolve_tiles(layer, unpack, channels, input, output, scratch, mobo_two_w4, 16, 0);
}

void mobo_conv2d_w4(const mobo_conv2d *layer, const int8_t *input, int8_t *output, int8_t *columns) {
  mobo_tiles(layer, NULL, layer->out_channels, input, output, columns);
}

void mobo_conv2d_w4_packed(const mobo_conv2d_packed *packed, const int8_t *input, int8_t *output, int8_t *scratch) {
  mobo_tiles(&packed->layer, packed->unpack, packed->tile, input, output, scratch);
}
#endif
