/* A camera's image as a network's input: grey, scaled, standardised. Included once, by model_frontend.c, whose tables and
 * sizes it uses. All of it is Pillow's arithmetic: weights of 22 bits, rounded after each axis. */
#ifndef MOBO_FRONTEND_IMAGE_H
#define MOBO_FRONTEND_IMAGE_H

#define FRONTEND_HALF ((uint32_t)1 << 21)

#if FRONTEND_GREY
static uint8_t frontend_grey(const uint8_t *pixel) {
  return (uint8_t)((pixel[0] * 19595u + pixel[1] * 38470u + pixel[2] * 7471u + 0x8000u) >> 16);
}
#endif

#if FRONTEND_SCALED
static struct {
  uint32_t sums[FRONTEND_WIDTH * FRONTEND_CHANNELS];
#if FRONTEND_GREY
  uint8_t row[(MODEL_FRONTEND_WIDTH + 3) / 4 * 4];
#endif
} frontend_state;

static const uint8_t *frontend_row(const uint8_t *pixels, int32_t line) {
  const uint8_t *const row = pixels + line * (MODEL_FRONTEND_WIDTH * MODEL_FRONTEND_CHANNELS);
#if FRONTEND_GREY
  int32_t x;
  for (x = 0; x < MODEL_FRONTEND_WIDTH; ++x) {
    frontend_state.row[x] = frontend_grey(row + 3 * x);
  }
  return frontend_state.row;
#else
  return row;
#endif
}

/* Adds a row, scaled to the network's width and weighted, to the sums. */
static void frontend_add(const uint8_t *row, uint32_t weight) {
  const int32_t *weights = frontend_across_weights;
  uint32_t *sum = frontend_state.sums;
  int32_t x, channel, tap;
  for (x = 0; x < FRONTEND_WIDTH; ++x) {
    const uint8_t *const first = row + frontend_across_first[x] * (int32_t)FRONTEND_CHANNELS;
    const int32_t taps = frontend_across_counts[x];
    for (channel = 0; channel < FRONTEND_CHANNELS; ++channel) {
      uint32_t value = FRONTEND_HALF;
      for (tap = 0; tap < taps; ++tap) {
        value += first[tap * FRONTEND_CHANNELS + channel] * (uint32_t)weights[tap];
      }
      *sum++ += (value >> 22) * weight;
    }
    weights += taps;
  }
}

void model_frontend(const uint8_t *pixels, int8_t *input) {
  const int32_t *weights = frontend_down_weights;
  int32_t y, n, tap;
  for (y = 0; y < FRONTEND_HEIGHT; ++y) {
    for (n = 0; n < FRONTEND_WIDTH * FRONTEND_CHANNELS; ++n) {
      frontend_state.sums[n] = FRONTEND_HALF;
    }
    for (tap = 0; tap < frontend_down_counts[y]; ++tap) {
      frontend_add(frontend_row(pixels, frontend_down_first[y] + tap), (uint32_t)*weights++);
    }
    for (n = 0; n < FRONTEND_WIDTH * FRONTEND_CHANNELS; ++n) {
      *input++ = frontend_lookup[n % FRONTEND_TABLES * 256 + (int32_t)(frontend_state.sums[n] >> 22)];
    }
  }
}
#else
void model_frontend(const uint8_t *pixels, int8_t *input) {
  int32_t n;
  for (n = 0; n < FRONTEND_HEIGHT * FRONTEND_WIDTH * FRONTEND_CHANNELS; ++n) {
#if FRONTEND_GREY
    const int32_t pixel = frontend_grey(pixels + 3 * n);
#else
    const int32_t pixel = pixels[n];
#endif
    input[n] = frontend_lookup[n % FRONTEND_TABLES * 256 + pixel];
  }
}
#endif

#endif
