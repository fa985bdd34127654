#include "mobo_dense_body.h"
#include "mobo_dot.h"

void mobo_dense_w4(const mobo_dense *layer, const int8_t *input, int8_t *output) {
  const int32_t excess = MOBO_OFFSET_W4 * mobo_sum(input, layer->in_channels);
  mobo_multiply_rows(layer, input, output, mobo_dot_4x1_w4, mobo_dot_2x1_w4, 4, excess);
}

#ifdef MOBO_PACKED
void mobo_dense_w4_packed(const mobo_dense_packed *packed, const int8_t *input, int8_t *output, int8_t *scratch) {
  /* Up to the end of the last group, whose padding is a weight of 0, stored plus 8. */
  const int length = (packed->layer.in_channels + 3) / 4 * 4;
  const int32_t excess = MOBO_OFFSET_W4 * mobo_sum(input, length);
  mobo_multiply_packed_rows(packed, input, output, scratch, mobo_dot_2x1_w4, 0, excess);
}
#endif
