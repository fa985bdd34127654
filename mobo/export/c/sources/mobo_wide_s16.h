/* Rows of weights times a column of int16 inputs with sums of 64 bits, for layers whose sums may leave 32. */
#ifndef MOBO_WIDE_S16_H
#define MOBO_WIDE_S16_H

#include "mobo_arithmetic.h"

/* `length`: elements of the column; weights as mobo_dot_s16.h lays them out. */
void mobo_rows_wide_s16(const mobo_output_stage *stage, const uint8_t *weights, const int16_t *column, int length,
                        int channels, int16_t *output);

#endif
