#define MOBO_INT16
#include "mobo_wide_s16.h"

#include "mobo_dot_s16.h"

/* Products of a group lie below 2^24, so that so many of them add up in 32 bits. */
#define MOBO_MOST_GROUPS 127

void mobo_rows_wide_s16(const mobo_output_stage *stage, const uint8_t *weights, const int16_t *column, int length,
                        int channels, int16_t *output) {
  const int groups = (length + 3) / 4;
  int channel, done;
  for (channel = 0; channel < channels; channel += 2) {
    int64_t first = mobo_bias(&stage->channels[channel]), second = mobo_bias(&stage->channels[channel + 1]);
    for (done = 0; done < groups; done += MOBO_MOST_GROUPS) {
      const int some = groups - done < MOBO_MOST_GROUPS ? groups - done : MOBO_MOST_GROUPS;
      int32_t sums[2] = {0, 0};
      mobo_dot_2x1_w8a16(weights, column + 4 * done, some, sums);
      first += sums[0], second += sums[1];
      weights += 8 * some;
    }
    mobo_store(stage, channel, first, output + channel);
    if (channel + 1 < channels) {
      mobo_store(stage, channel + 1, second, output + channel + 1);
    }
  }
}
