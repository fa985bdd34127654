#include "mobo_softmax.h"

/* Fixed-point numbers with b integer bits: raw / 2^(31 - b). After gemmlowp's fixedpoint.h and TFLite's softmax.h. */

static int32_t mobo_product(int32_t a, int32_t b) {
  return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
}

static int32_t mobo_halve(int32_t value, int exponent) {
  const int64_t nudge = (((int64_t)1 << exponent) >> 1) + (value >> 31);
  return (int32_t)((value + nudge) >> exponent);
}

/* exp of [-1/4, 0) without integer bits: Taylor's series around -1/8. */
static int32_t mobo_exp_of_quarter(int32_t value) {
  const int32_t x = value + (1 << 28), exp_minus_eighth = 1895147668, third = 715827883;
  const int32_t square = mobo_product(x, x), cube = mobo_product(square, x), fourth = mobo_product(square, square);
  const int32_t tail = mobo_halve(mobo_product(mobo_halve(fourth, 2) + cube, third) + square, 1);
  return mobo_product(x + tail, exp_minus_eighth) + exp_minus_eighth;
}

/* exp of numbers at most 0 with 5 integer bits, without integer bits. */
static int32_t mobo_exp_of_negative(int32_t value) {
  static const int32_t powers[7] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
  const int32_t quarter = 1 << 24;
  const int32_t within = (value & (quarter - 1)) - quarter;
  const int32_t remainder = within - value;
  int32_t result = mobo_exp_of_quarter(within * 32);
  int i;
  if (value == 0) {
    return INT32_MAX;
  }
  for (i = 0; i < 7; ++i) {
    if (remainder & ((int32_t)1 << (24 + i))) {
      result = mobo_product(result, powers[i]);
    }
  }
  return result;
}

/* 1 / (1 + x) for x in [0, 1) without integer bits: three Newton-Raphson steps with 2 integer bits. */
static int32_t mobo_one_over_one_plus(int32_t value) {
  const int32_t half_denominator = (int32_t)(((int64_t)value + INT32_MAX + 1) >> 1);
  int32_t x = mobo_product(half_denominator, -1010580540) + 1515870810;
  int64_t twice;
  int i;
  for (i = 0; i < 3; ++i) {
    const int32_t rest = (1 << 29) - mobo_product(half_denominator, x);
    x += mobo_product(x, rest) * 4;
  }
  twice = (int64_t)x * 2;
  return twice > INT32_MAX ? INT32_MAX : (int32_t)twice;
}

static int32_t mobo_exponential(const mobo_softmax *layer, int32_t difference) {
  return mobo_exp_of_negative(mobo_multiply(difference, layer->mantissa, -layer->left_shift));
}

static void mobo_softmax_row(const mobo_softmax *layer, const int8_t *input, int8_t *output) {
  int32_t most = INT8_MIN, total = 0, reciprocal;
  int zeros = 0, i;
  for (i = 0; i < layer->channels; ++i) {
    most = input[i] > most ? input[i] : most;
  }
  for (i = 0; i < layer->channels; ++i) {
    if (input[i] - most >= layer->smallest) {
      total += mobo_halve(mobo_exponential(layer, input[i] - most), 12);
    }
  }
  while (((uint32_t)total << zeros) < 0x80000000u) {
    ++zeros;
  }
  reciprocal = mobo_one_over_one_plus((int32_t)(((uint32_t)total << zeros) - 0x80000000u));
  for (i = 0; i < layer->channels; ++i) {
    int32_t value = -128;
    if (input[i] - most >= layer->smallest) {
      value += mobo_halve(mobo_product(reciprocal, mobo_exponential(layer, input[i] - most)), 12 - zeros + 31 - 8);
    }
    output[i] = (int8_t)(value > 127 ? 127 : value);
  }
}

void mobo_softmax_s8(const mobo_softmax *layer, const int8_t *input, int8_t *output) {
  int32_t row;
  for (row = 0; row < layer->rows; ++row) {
    mobo_softmax_row(layer, input + row * layer->channels, output + row * layer->channels);
  }
}
