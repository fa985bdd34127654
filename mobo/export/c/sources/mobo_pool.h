/* Average and maximum over windows; what lies outside the map does not count. */
#ifndef MOBO_POOL_H
#define MOBO_POOL_H

#include "mobo_arithmetic.h"

typedef struct {
  uint16_t in_height, in_width, channels;
  uint16_t out_height, out_width;
  uint16_t kernel_height, kernel_width;
  uint16_t stride_height, stride_width;
  uint16_t pad_top, pad_left;
} mobo_pool;

void mobo_average_pool(const mobo_pool *layer, const int8_t *input, int8_t *output);
void mobo_max_pool(const mobo_pool *layer, const int8_t *input, int8_t *output);
void mobo_average_pool_s16(const mobo_pool *layer, const int16_t *input, int16_t *output);
void mobo_max_pool_s16(const mobo_pool *layer, const int16_t *input, int16_t *output);

#endif
