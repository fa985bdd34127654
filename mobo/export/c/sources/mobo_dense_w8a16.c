#define MOBO_INT16
#include "mobo_dense_body.h"
#include "mobo_dot_s16.h"
#include "mobo_wide_s16.h"

void mobo_dense_w8a16(const mobo_dense *layer, const int16_t *input, int16_t *output) {
  if (layer->stage.wide) {
    mobo_rows_wide_s16(&layer->stage, layer->weights, input, layer->in_channels, layer->out_channels, output);
  } else {
    mobo_multiply_rows(layer, input, output, mobo_dot_4x1_w8a16, mobo_dot_2x1_w8a16, 8, 0);
  }
}
