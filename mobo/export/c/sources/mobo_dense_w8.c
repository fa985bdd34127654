#include "mobo_dense_body.h"
#include "mobo_dot.h"

void mobo_dense_w8(const mobo_dense *layer, const int8_t *input, int8_t *output) {
  mobo_multiply_rows(layer, input, output, mobo_dot_4x1_w8, mobo_dot_2x1_w8, 8, 0);
}

#ifdef MOBO_PACKED
void mobo_dense_w8_packed(const mobo_dense_packed *packed, const int8_t *input, int8_t *output, int8_t *scratch) {
  mobo_multiply_packed_rows(packed, input, output, scratch, mobo_dot_2x1_w8, MOBO_FLIP_W8, 0);
}
#endif
