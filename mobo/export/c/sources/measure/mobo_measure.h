/* Measures the model on the board it runs on; the same source in every form of the firmware. */
#ifndef MOBO_MEASURE_H
#define MOBO_MEASURE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The longest line, its end and a closing zero included. */
#define MOBO_LINE_BYTES 1024

/* What one form of the firmware knows about its board. */
typedef struct {
  uint32_t clock_hz;       /* Of the core; 0 where unknown. */
  uint32_t (*ticks)(void); /* A counter that runs upwards and may start again at 0 after 2^32. */
  uint32_t ticks_hz;       /* 0: as many as the core's clock, whatever that is. */
  int is_emulated;         /* The ticks count instructions of an emulator, 64 ns each. */
} mobo_platform;

/* Runs all test vectors, then measures, and writes one line of JSON into `line`; returns its length without the zero.
 * Where the model cannot be started the line says why. */
size_t mobo_measure(const mobo_platform *platform, char *line);

/* Infers for a second, so that a power monitor sees the power of inference between two lines. */
void mobo_keep_busy(const mobo_platform *platform);

#ifdef __cplusplus
}
#endif

#endif
