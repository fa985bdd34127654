/* The convolution, for the files that make its two widths of weights. */
#ifndef MOBO_CONV2D_BODY_H
#define MOBO_CONV2D_BODY_H

#include "mobo_conv2d.h"
#include "mobo_dot.h"

/* Copies one row of a window, `count` pixels from `x` on; what lies outside the map is the zero point. */
static int8_t *mobo_copy_row(const mobo_conv2d *layer, const int8_t *row, int x, int8_t *to) {
  const int channels = layer->in_channels;
  int left = 0, inside = layer->kernel_width, right = 0;
  if (x < 0) {
    left = -x < inside ? -x : inside;
    memset(to, layer->input_zero_point, (size_t)(left * channels));
    to += left * channels;
    inside -= left;
    x = 0;
  }
  if (x + inside > layer->in_width) {
    right = x + inside - layer->in_width;
    right = right < inside ? right : inside;
    inside -= right;
  }
  if (inside > 0) {
    memcpy(to, row + x * channels, (size_t)(inside * channels));
    to += inside * channels;
  }
  memset(to, layer->input_zero_point, (size_t)(right * channels));
  return to + right * channels;
}

/* Returns one window of the input as a contiguous column: where it lies, or copied to `copy`. */
static const int8_t *mobo_column(const mobo_conv2d *layer, const int8_t *input, int y, int x, int8_t *copy) {
  const int row_bytes = layer->in_width * layer->in_channels;
  int8_t *to = copy;
  int row;
  if (layer->kernel_height == 1 && x >= 0 && x + layer->kernel_width <= layer->in_width) {
    return input + y * row_bytes + x * layer->in_channels;
  }
  for (row = y; row < y + layer->kernel_height; ++row) {
    if (row < 0 || row >= layer->in_height) {
      const int bytes = layer->kernel_width * layer->in_channels;
      memset(to, layer->input_zero_point, (size_t)bytes);
      to += bytes;
    } else {
      to = mobo_copy_row(layer, input + row * row_bytes, x, to);
    }
  }
  return copy;
}

/* Two rows' sums as outputs of two positions, for any output stage; `second_row` is 0 if there is none. */
static void mobo_store_four_wide(const mobo_output_stage *stage, int channel, const int32_t sums[4], int second_row,
                                 int8_t *first, int8_t *second) {
  mobo_store(stage, channel, sums[0], first);
  mobo_store(stage, channel, sums[1], second);
  if (second_row) {
    mobo_store(stage, channel + 1, sums[2], first + 1);
    mobo_store(stage, channel + 1, sums[3], second + 1);
  }
}

/* Computes all channels of two output positions. */
MOBO_INLINE void mobo_two_positions(const mobo_conv2d *layer, const int8_t *first, const int8_t *second,
                                    int8_t *first_output, int8_t *second_output, mobo_dot_2x2 dot, int offset,
                                    int group_bytes) {
  const mobo_output_stage *const stage = &layer->stage;
  const mobo_channel *channels = stage->channels;
  const int8_t *shifts = stage->shifts;
  const int32_t half_and_zero_point = stage->half_and_zero_point;
  const int length = layer->kernel_height * layer->kernel_width * layer->in_channels;
  const int groups = (length + 3) / 4, count = layer->out_channels;
  const int32_t first_excess = offset ? offset * mobo_sum(first, length) : 0;
  const int32_t second_excess = offset ? offset * mobo_sum(second, length) : 0;
  const uint8_t *weights = layer->weights;
  int channel;
  for (channel = 0; channel < count; channel += 2) {
    int32_t sums[4];
    sums[0] = channels[0].bias - first_excess;
    sums[1] = channels[0].bias - second_excess;
    sums[2] = channels[1].bias - first_excess;
    sums[3] = channels[1].bias - second_excess;
    dot(weights, first, second, groups, sums);
    weights += groups * group_bytes;
    if (stage->wide) {
      mobo_store_four_wide(stage, channel, sums, channel + 1 < count, first_output, second_output);
    } else {
      int32_t mantissa = channels[0].mantissa;
      int shift = shifts[0];
      int32_t addend = mobo_addend(half_and_zero_point, shift);
      first_output[0] = (int8_t)mobo_narrow(sums[0], mantissa, shift, addend);
      second_output[0] = (int8_t)mobo_narrow(sums[1], mantissa, shift, addend);
      if (channel + 1 < count) {
        mantissa = channels[1].mantissa;
        shift = shifts[1];
        addend = mobo_addend(half_and_zero_point, shift);
        first_output[1] = (int8_t)mobo_narrow(sums[2], mantissa, shift, addend);
        second_output[1] = (int8_t)mobo_narrow(sums[3], mantissa, shift, addend);
      }
    }
    channels += 2, shifts += 2, first_output += 2, second_output += 2;
  }
}

MOBO_INLINE void mobo_convolve(const mobo_conv2d *layer, const int8_t *input, int8_t *output, int8_t *columns,
                               mobo_dot_2x2 dot, int offset, int group_bytes) {
  const int length = layer->kernel_height * layer->kernel_width * layer->in_channels;
  int8_t *const second_copy = columns + (length + 3) / 4 * 4;
  const int positions = layer->out_height * layer->out_width;
  const int stride = layer->stride_width;
  const int8_t *first;
  int position, y = -layer->pad_top, x = -layer->pad_left, left = layer->out_width;
  for (position = 0; position < positions; position += 2) {
    const int8_t *second;
    int8_t *second_output = output + layer->out_channels;
    first = mobo_column(layer, input, y, x, columns);
    x += stride;
    if (--left == 0) {
      left = layer->out_width, x = -layer->pad_left, y += layer->stride_height;
    }
    if (position + 1 < positions) {
      second = mobo_column(layer, input, y, x, second_copy);
      x += stride;
      if (--left == 0) {
        left = layer->out_width, x = -layer->pad_left, y += layer->stride_height;
      }
    } else {
      /* An odd last position is computed twice, which costs less than code of its own. */
      second = first;
      second_output = output;
    }
    mobo_two_positions(layer, first, second, output, second_output, dot, offset, group_bytes);
    output += 2 * layer->out_channels;
  }
}

#endif
