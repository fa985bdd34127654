/* Addition, products, standalone activations, conversion between int8 and int16: the output may lie where an input of
 * its size lies, unless it has more bits. Padding and concatenation, which move bytes. */
#ifndef MOBO_ELEMENTWISE_H
#define MOBO_ELEMENTWISE_H

#include "mobo_arithmetic.h"

/* One operand's way to the common scale: a multiplier of at most 1/2, `shift` to the right. */
typedef struct {
  int32_t mantissa;
  int8_t shift;
  int8_t zero_point;
} mobo_operand;

typedef struct {
  mobo_operand first, second;
  int32_t mantissa;
  int8_t shift;
  int8_t zero_point;
  int16_t low, high;
  int32_t elements;
} mobo_add;

typedef struct {
  int32_t mantissa;
  int8_t shift;
  int8_t input_zero_point, zero_point;
  /* Whether inputs and outputs are int16. */
  uint8_t from_int16, to_int16;
  int16_t low, high;
  int32_t elements;
} mobo_rescale;

/* A product with a tensor of `period` elements, over and over: as many as the other has, or one per channel. */
typedef struct {
  int32_t mantissa;
  int8_t shift;
  int8_t first_zero_point, second_zero_point, zero_point;
  int16_t low, high;
  int32_t elements, period;
} mobo_product;

/* What becomes of -128 to 127. */
typedef struct {
  const int8_t *table;
  int32_t elements;
} mobo_lookup;

/* Bytes before a map, of one of its rows, between two of them and behind it. */
typedef struct {
  int32_t first, row, between, last;
  int32_t rows;
  int8_t value;
} mobo_pad;

/* Bytes of one position in every input and in the output. */
typedef struct {
  const int32_t *bytes;
  int32_t row;
  int32_t inputs, positions;
} mobo_concatenate;

void mobo_add_s8(const mobo_add *layer, const int8_t *first, const int8_t *second, int8_t *output);
void mobo_add_s16(const mobo_add *layer, const int16_t *first, const int16_t *second, int16_t *output);
void mobo_product_s8(const mobo_product *layer, const int8_t *first, const int8_t *second, int8_t *output);
void mobo_lookup_s8(const mobo_lookup *layer, const int8_t *input, int8_t *output);
void mobo_pad_any(const mobo_pad *layer, const void *input, void *output);
void mobo_concatenate_any(const mobo_concatenate *layer, const void *const *inputs, void *output);
void mobo_rescale_any(const mobo_rescale *layer, const void *input, void *output);

#endif
