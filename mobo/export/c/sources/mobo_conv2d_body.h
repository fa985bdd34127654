/* The convolution, for the files that make its widths. */
#ifndef MOBO_CONV2D_BODY_H
#define MOBO_CONV2D_BODY_H

#include "mobo_conv2d.h"

/* Computes all channels of two output positions from two windows. */
typedef void (*mobo_two)(const mobo_conv2d *layer, const mobo_element *first, const mobo_element *second,
                         mobo_element *first_output, mobo_element *second_output);
/* Adds the products of two rows of weights and two columns to sums[row * 2 + column]. */
typedef void (*mobo_dot_2x2)(const uint8_t *weights, const mobo_element *first, const mobo_element *second, int groups,
                             int32_t sums[4]);

/* Copies one row of a window, `count` pixels from `x` on; what lies outside the map is the zero point. */
static mobo_element *mobo_copy_row(const mobo_conv2d *layer, const mobo_element *row, int x, mobo_element *to) {
  const int channels = layer->in_channels;
  int left = 0, inside = layer->kernel_width, right = 0;
  if (x < 0) {
    left = -x < inside ? -x : inside;
    memset(to, layer->input_zero_point, (size_t)(left * channels) * sizeof *to);
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
    memcpy(to, row + x * channels, (size_t)(inside * channels) * sizeof *to);
    to += inside * channels;
  }
  memset(to, layer->input_zero_point, (size_t)(right * channels) * sizeof *to);
  return to + right * channels;
}

/* Returns one window of the input as a contiguous column: where it lies, or copied to `copy`. */
static const mobo_element *mobo_column(const mobo_conv2d *layer, const mobo_element *input, int y, int x,
                                       mobo_element *copy) {
  const int row_elements = layer->in_width * layer->in_channels;
  mobo_element *to = copy;
  int row;
  if (layer->kernel_height == 1 && x >= 0 && x + layer->kernel_width <= layer->in_width) {
    return input + y * row_elements + x * layer->in_channels;
  }
  for (row = y; row < y + layer->kernel_height; ++row) {
    if (row < 0 || row >= layer->in_height) {
      const int elements = layer->kernel_width * layer->in_channels;
      memset(to, layer->input_zero_point, (size_t)elements * sizeof *to);
      to += elements;
    } else {
      to = mobo_copy_row(layer, input + row * row_elements, x, to);
    }
  }
  return copy;
}

/* Two rows' sums as outputs of two positions, for any output stage; `second_row` is 0 if there is none. */
static void mobo_store_four_wide(const mobo_output_stage *stage, int channel, const int32_t sums[4], int second_row,
                                 mobo_element *first, mobo_element *second) {
  mobo_store(stage, channel, sums[0], first);
  mobo_store(stage, channel, sums[1], second);
  if (second_row) {
    mobo_store(stage, channel + 1, sums[2], first + 1);
    mobo_store(stage, channel + 1, sums[3], second + 1);
  }
}

/* Elements of a window. */
MOBO_INLINE int mobo_length(const mobo_conv2d *layer) {
  return layer->kernel_height * layer->kernel_width * layer->in_channels;
}

/* Computes all channels of two output positions; the excesses are taken off the sums of the two windows. */
MOBO_INLINE void mobo_two_positions(const mobo_conv2d *layer, const mobo_element *first, const mobo_element *second,
                                    mobo_element *first_output, mobo_element *second_output, mobo_dot_2x2 dot,
                                    int group_bytes, int32_t first_excess, int32_t second_excess) {
  const mobo_output_stage *const stage = &layer->stage;
  const mobo_channel *channels = stage->channels;
  const int8_t *shifts = stage->shifts;
  const int32_t half_and_zero_point = stage->half_and_zero_point, low = stage->low;
  const int groups = (mobo_length(layer) + 3) / 4, count = layer->out_channels;
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
    if (MOBO_WIDE(stage)) {
      mobo_store_four_wide(stage, channel, sums, channel + 1 < count, first_output, second_output);
    } else {
      int32_t mantissa = channels[0].mantissa;
      int shift = shifts[0];
      int32_t addend = mobo_addend(half_and_zero_point, shift);
      first_output[0] = (mobo_element)mobo_narrow(sums[0], mantissa, shift, addend, low);
      second_output[0] = (mobo_element)mobo_narrow(sums[1], mantissa, shift, addend, low);
      if (channel + 1 < count) {
        mantissa = channels[1].mantissa;
        shift = shifts[1];
        addend = mobo_addend(half_and_zero_point, shift);
        first_output[1] = (mobo_element)mobo_narrow(sums[2], mantissa, shift, addend, low);
        second_output[1] = (mobo_element)mobo_narrow(sums[3], mantissa, shift, addend, low);
      }
    }
    channels += 2, shifts += 2, first_output += 2, second_output += 2;
  }
}

/* Computes the channels of a tile, which has weights, output stage and number of channels of a part of the layer. */
MOBO_INLINE void mobo_convolve_tile(const mobo_conv2d *layer, const mobo_conv2d *tile, const mobo_element *input,
                                    mobo_element *output, mobo_element *columns, mobo_two two) {
  mobo_element *const second_copy = columns + (mobo_length(layer) + 3) / 4 * 4;
  const int positions = layer->out_height * layer->out_width;
  const int stride = layer->stride_width;
  const mobo_element *first;
  int position, y = -layer->pad_top, x = -layer->pad_left, left = layer->out_width;
  for (position = 0; position < positions; position += 2) {
    const mobo_element *second;
    mobo_element *second_output = output + layer->out_channels;
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
    two(tile, first, second, output, second_output);
    output += 2 * layer->out_channels;
  }
}

MOBO_INLINE void mobo_convolve(const mobo_conv2d *layer, const mobo_element *input, mobo_element *output,
                               mobo_element *columns, mobo_two two) {
  mobo_convolve_tile(layer, layer, input, output, columns, two);
}

#if defined(MOBO_PACKED) && !defined(MOBO_INT16)
/* Computes a layer tile by tile; `unpack` is NULL for one whose weights lie as they are computed with. */
MOBO_INLINE void mobo_convolve_tiles(const mobo_conv2d *layer, mobo_unpack unpack, int channels, const int8_t *input,
                                     int8_t *output, int8_t *scratch, mobo_two two, int block_bytes, uint32_t flip) {
  const int groups = (mobo_length(layer) + 3) / 4;
  const uint8_t *packed = layer->weights;
  mobo_conv2d tile = *layer;
  int8_t *columns = scratch;
  int left = layer->out_channels;
  if (unpack != NULL) {
    tile.weights = (const uint8_t *)scratch;
    /* A window without its shape, up to the end of its last group. */
    tile.kernel_height = 1, tile.kernel_width = 1, tile.in_channels = (uint16_t)(4 * groups);
    columns += MOBO_BLOCKS(channels / 2 * groups * 8) * block_bytes;
  }
  for (; left > 0; left -= channels) {
    const int count = left < channels ? left : channels;
    if (unpack != NULL) {
      packed = unpack(packed, (uint8_t *)scratch, MOBO_BLOCKS((count + 1) / 2 * groups * 8), flip);
    }
    tile.out_channels = (uint16_t)count;
    mobo_convolve_tile(layer, &tile, input, output, columns, two);
    tile.stage.channels += count, tile.stage.shifts += count, output += count;
  }
}
#endif

#endif
