#define MOBO_INT16
#include "mobo_conv2d_body.h"
#include "mobo_dot_s16.h"
#include "mobo_wide_s16.h"

MOBO_INLINE void mobo_two_w8a16(const mobo_conv2d *layer, const int16_t *first, const int16_t *second,
                                int16_t *first_output, int16_t *second_output) {
  const mobo_output_stage *const stage = &layer->stage;
  if (stage->wide) {
    mobo_rows_wide_s16(stage, layer->weights, first, mobo_length(layer), layer->out_channels, first_output);
    mobo_rows_wide_s16(stage, layer->weights, second, mobo_length(layer), layer->out_channels, second_output);
  } else {
    mobo_two_positions(layer, first, second, first_output, second_output, mobo_dot_2x2_w8a16, 8, 0, 0);
  }
}

void mobo_conv2d_w8a16(const mobo_conv2d *layer, const int16_t *input, int16_t *output, int16_t *columns) {
  mobo_convolve(layer, input, output, columns, mobo_two_w8a16);
}
