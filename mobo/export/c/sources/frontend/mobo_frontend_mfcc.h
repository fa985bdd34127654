/* MFCC of a clip in fixed point. Included once, by model_frontend.c, whose tables and sizes it uses.
 *
 * Per frame: window, scaling to 28 bits, an FFT of half the length over pairs of samples that halves at every stage,
 * magnitudes, mel bands, log2 less the clip's loudness, DCT. Right shifts of negative numbers are arithmetic.
 */
#ifndef MOBO_FRONTEND_MFCC_H
#define MOBO_FRONTEND_MFCC_H

#include "mobo_arithmetic.h"

static struct {
  int32_t frame[FRONTEND_FFT];
  int16_t levels[FRONTEND_BANDS];
} frontend_state;

/* Returns (value * factor) >> 16 for a factor of 16 bits. */
MOBO_INLINE int32_t frontend_high(int32_t value, int32_t factor) {
#if MOBO_DSP
  return __smulwb(value, factor);
#else
  return (value >> 16) * factor + ((int32_t)((uint32_t)value & 0xFFFFu) * factor >> 16);
#endif
}

static int frontend_bits(uint32_t value) {
#if defined(__GNUC__)
  return value == 0 ? 0 : 32 - __builtin_clz(value);
#else
  int bits = 0;
  for (; value != 0; value >>= 1) {
    ++bits;
  }
  return bits;
#endif
}

/* log2 of a positive number, times 2^15. */
static int32_t frontend_log2(uint32_t value) {
  const int whole = frontend_bits(value) - 1;
  const uint32_t mantissa = value << (31 - whole), index = (mantissa >> 25) & 63u, rest = (mantissa >> 9) & 0xFFFFu;
  const uint32_t step = (uint32_t)frontend_logs[index + 1] - frontend_logs[index];
  return (int32_t)(((uint32_t)whole << 15) + frontend_logs[index] + (step * rest >> 16));
}

/* Square root of a * a + b * b: a table and one step of Newton's method. */
static uint32_t frontend_magnitude(uint32_t a, uint32_t b) {
  int shift = 15 - frontend_bits(a | b);
  uint32_t squares, inverse, root;
  if ((a | b) == 0) {
    return 0;
  }
  if (shift > 0) {
    a <<= shift;
    b <<= shift;
  } else {
    a >>= -shift;
    b >>= -shift;
  }
  squares = a * a + b * b;
  if (squares < (1u << 30)) {
    squares <<= 2;
    ++shift;
  }
  inverse = frontend_roots[(squares >> 24) - 64];
  root = (squares >> 16) * inverse >> 15;
  root += (uint32_t)(((int32_t)(squares - root * root) >> 10) * (int32_t)(inverse >> 1) >> 21);
  return shift > 0 ? root >> shift : root << -shift;
}

MOBO_INLINE int32_t frontend_windowed(const int16_t *samples, int n) {
  return samples[n] * frontend_hann[n <= FRONTEND_WINDOW / 2 ? n : FRONTEND_WINDOW - n];
}

MOBO_INLINE int32_t frontend_scaled(const int16_t *samples, int n, int shift) {
  const int32_t value = n < FRONTEND_WINDOW ? frontend_windowed(samples, n) : 0;
  return shift >= 0 ? (int32_t)((uint32_t)value << shift) : value >> -shift;
}

/* Fills the frame, its pairs in the order of reversed bits, and returns the left shift that scaled it. */
static int frontend_load(const int16_t *samples) {
  uint32_t bits = 0, place = 0;
  int shift, n;
  for (n = 0; n < FRONTEND_WINDOW; ++n) {
    const int32_t value = frontend_windowed(samples, n);
    bits |= (uint32_t)(value ^ (value >> 31));
  }
  shift = 28 - frontend_bits(bits);
  shift = shift > 24 ? 24 : shift;
  for (n = 0; n < FRONTEND_FFT; n += 2) {
    uint32_t bit = FRONTEND_FFT / 4;
    frontend_state.frame[2 * place] = frontend_scaled(samples, n, shift);
    frontend_state.frame[2 * place + 1] = frontend_scaled(samples, n + 1, shift);
    for (; (place & bit) != 0; bit >>= 1) {
      place ^= bit;
    }
    place |= bit;
  }
  return shift;
}

MOBO_INLINE void frontend_butterfly(int32_t *upper, int32_t *lower, int32_t real, int32_t imaginary) {
  const int32_t half = upper[0] >> 1, half_i = upper[1] >> 1;
  upper[0] = half + real;
  upper[1] = half_i + imaginary;
  lower[0] = half - real;
  lower[1] = half_i - imaginary;
}

static void frontend_fft(void) {
  int32_t *const end = frontend_state.frame + FRONTEND_FFT;
  int span, turn;
  for (span = 1; span < FRONTEND_FFT / 2; span *= 2) {
    int32_t *pair;
    for (pair = frontend_state.frame; pair < end; pair += 4 * span) {
      int32_t *const lower = pair + 2 * span;
      frontend_butterfly(pair, lower, lower[0] >> 1, lower[1] >> 1);
    }
    for (turn = 1; turn < span; ++turn) {
      const int16_t *const wave = frontend_wave + turn * (FRONTEND_FFT / 2 / span);
      const int32_t sine = wave[0], cosine = wave[FRONTEND_FFT / 4];
      for (pair = frontend_state.frame + 2 * turn; pair < end; pair += 4 * span) {
        int32_t *const lower = pair + 2 * span;
        frontend_butterfly(pair, lower, frontend_high(lower[0], cosine) + frontend_high(lower[1], sine),
                           frontend_high(lower[1], cosine) - frontend_high(lower[0], sine));
      }
    }
  }
}

/* The magnitude of a bin of the whole FFT, divided by its length. */
static uint32_t frontend_bin(int bin) {
  const int32_t *const a = frontend_state.frame + 2 * bin, *const c = frontend_state.frame + FRONTEND_FFT - 2 * bin;
  const int32_t odd = (a[0] - c[0]) >> 1, odd_i = (a[1] + c[1]) >> 1;
  const int32_t sine = frontend_wave[bin], cosine = frontend_wave[bin + FRONTEND_FFT / 4];
  const int32_t real = ((a[0] + c[0]) >> 2) + frontend_high(odd_i, cosine) - frontend_high(odd, sine);
  const int32_t imaginary = ((a[1] - c[1]) >> 2) - frontend_high(odd, cosine) - frontend_high(odd_i, sine);
  return frontend_magnitude((uint32_t)(real < 0 ? -real : real), (uint32_t)(imaginary < 0 ? -imaginary : imaginary));
}

/* The logarithm of every band. A bin between two edges belongs to the band that rises there and the one that falls. */
static void frontend_bands(uint32_t least, int32_t loudness) {
  uint32_t before = 0;
  int band, index = 0;
  for (band = 0; band <= FRONTEND_BANDS; ++band) {
    const int end = index + frontend_counts[band];
    uint32_t rising = 0, falling = 0;
    for (; index < end; ++index) {
      const uint32_t magnitude = frontend_bin(FRONTEND_FIRST_BIN + index);
      const uint32_t part = (uint32_t)frontend_high((int32_t)magnitude, frontend_rising[index]);
      rising += part;
      falling += (magnitude >> 1) - part;
    }
    if (band > 0) {
      const uint32_t energy = before + falling + least;
      const int32_t level = (frontend_log2(energy > 0 ? energy : 1) - loudness + 16) >> 5;
      frontend_state.levels[band - 1] = (int16_t)(level < -32768 ? -32768 : level > 32767 ? 32767 : level);
    }
    before = rising;
  }
}

void model_frontend(const int16_t *samples, int8_t *input) {
  uint32_t peak = 1;
  int n, frame;
  for (n = 0; n < MODEL_FRONTEND_SAMPLES; ++n) {
    peak = samples[n] > (int32_t)peak ? (uint32_t)samples[n] : peak;
  }
  for (frame = 0; frame < FRONTEND_FRAMES; ++frame) {
    const int shift = frontend_load(samples + (int32_t)frame * FRONTEND_HOP);
    const int right = FRONTEND_FLOOR_SHIFT - shift;
    const int16_t *cosine = frontend_cosines;
    frontend_fft();
    frontend_bands(peak * FRONTEND_FLOOR >> (right > 31 ? 31 : right),
                   (shift + 14 - FRONTEND_LOG2_FFT) * 32768 + frontend_log2(peak));
    for (n = 0; n < FRONTEND_COEFFICIENTS; ++n) {
      int64_t sum = 0;
      int band;
      for (band = 0; band < FRONTEND_BANDS; ++band) {
        sum += (int32_t)frontend_state.levels[band] * *cosine++;
      }
      *input++ = frontend_stage(n, (int32_t)(sum >> 4));
    }
  }
}

#endif
