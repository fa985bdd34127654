/* Cycles, stack and checksums of the model, as one line of JSON. */
#include "mobo_measure.h"

#include <string.h>

#include "model.h"

#include "mobo_export.h"

/* An emulated instruction takes 64 ns. */
#define EMULATED_HZ 15625000u
#define FNV_START 2166136261u
#define FNV_PRIME 16777619u
#define PAINT 0xA5

/* What stands in the way of inference; the C of a model needs no start. */
#if defined(MODEL_STARTS)
#define FAILURE model_start()
#else
#define FAILURE NULL
#endif

#if defined(__ARM_ARCH) && __ARM_ARCH >= 7 && !defined(__ARM_ARCH_8M_BASE__)
#define HAS_CYCLE_COUNTER 1
#else
#define HAS_CYCLE_COUNTER 0
#endif

static model_output output[MODEL_OUTPUTS];

#if HAS_CYCLE_COUNTER
#define DEBUG_CONTROL (*(volatile uint32_t *)0xE000EDFCu)
#define DWT_CONTROL (*(volatile uint32_t *)0xE0001000u)
#define DWT_CYCLES (*(volatile uint32_t *)0xE0001004u)
#define DWT_UNLOCK (*(volatile uint32_t *)0xE0001FB0u)

/* Returns whether the counter is there and runs: emulators have one that stands still. */
static int start_cycle_counter(void) {
  uint32_t before;
  volatile int pause;
  DEBUG_CONTROL |= 1u << 24;
  DWT_UNLOCK = 0xC5ACCE55u;
  DWT_CONTROL |= 1u;
  before = DWT_CYCLES;
  for (pause = 0; pause < 16; ++pause) {
  }
  return DWT_CYCLES != before;
}

static uint32_t cycles(void) { return DWT_CYCLES; }

/* The clock of the core, from the cycles of a twentieth of a second; ticks may come at 1 MHz or less. */
static uint32_t measured_clock_hz(const mobo_platform *platform) {
  const uint32_t wanted = platform->ticks_hz / 20;
  uint32_t first = platform->ticks(), ticks, from;
  /* From one edge of the counter on. */
  do {
    ticks = platform->ticks();
    from = cycles();
  } while (ticks == first);
  first = ticks;
  do {
    ticks = platform->ticks();
  } while (ticks - first < wanted);
  return (uint32_t)((uint64_t)(cycles() - from) * platform->ticks_hz / (ticks - first));
}
#endif

static uint32_t checksum(uint32_t sum, const void *data, size_t bytes) {
  const uint8_t *at = (const uint8_t *)data;
  while (bytes-- != 0) {
    sum = (sum ^ *at++) * FNV_PRIME;
  }
  return sum;
}

static char *put(char *to, const char *text) {
  while (*text != '\0') {
    *to++ = *text++;
  }
  return to;
}

static char *put_number(char *to, const char *name, uint32_t value) {
  char digits[10];
  int count = 0;
  to = put(to, name);
  do {
    digits[count++] = (char)('0' + value % 10);
    value /= 10;
  } while (value != 0);
  while (count != 0) {
    *to++ = digits[--count];
  }
  return to;
}

static char *put_hexadecimal(char *to, uint32_t value) {
  int shift;
  *to++ = '"';
  for (shift = 28; shift >= 0; shift -= 4) {
    *to++ = "0123456789abcdef"[value >> shift & 15];
  }
  *to++ = '"';
  return to;
}

static void infer(int vector) {
  memcpy(model_input(), test_inputs + (size_t)(vector % TEST_VECTORS) * MODEL_INPUT_BYTES, MODEL_INPUT_BYTES);
  model_predict(NULL, output);
}

/* The deepest that one inference reaches below here; 0 where nobody knows where the stack is. */
static uint32_t stack_bytes(void) {
#if defined(__arm__)
  volatile uint8_t *top, *at;
  memcpy(model_input(), test_inputs, MODEL_INPUT_BYTES);
  __asm__ volatile("mov %0, sp" : "=r"(top));
  for (at = top - MOBO_PAINTED_BYTES; at < top; ++at) {
    *at = PAINT;
  }
  model_predict(NULL, output);
  for (at = top - MOBO_PAINTED_BYTES; at < top && *at == PAINT; ++at) {
  }
  return (uint32_t)(top - at);
#else
  return 0;
#endif
}

static void sort(uint32_t *values, int count) {
  int i, j;
  for (i = 1; i < count; ++i) {
    const uint32_t value = values[i];
    for (j = i; j > 0 && values[j - 1] > value; --j) {
      values[j] = values[j - 1];
    }
    values[j] = value;
  }
}

static size_t end_line(char *line, char *to) {
  const size_t length = (size_t)(to - line);
  to = put(to, ",\"check\":");
  to = put_hexadecimal(to, checksum(FNV_START, line, length));
  to = put(to, "}\n");
  *to = '\0';
  return (size_t)(to - line);
}

size_t mobo_measure(const mobo_platform *platform, char *line) {
  const char *const failure = FAILURE;
  uint32_t counts[MOBO_INFERENCES], clock_hz = platform->clock_hz, stack;
  int i, has_cycles = 0;
  char *to = line;
#if HAS_CYCLE_COUNTER
  has_cycles = !platform->is_emulated && start_cycle_counter();
#endif
  to = put(to, "{\"mobo\":1,\"model\":\"" MOBO_MODEL_DIGEST "\",\"export\":\"" MOBO_EXPORT_DIGEST "\",\"board\":\"");
  to = put(to, MOBO_BOARD "\",\"engine\":\"" MOBO_ENGINE "\"");
  if (failure != NULL) {
    to = put(to, ",\"failed\":\"");
    to = put(to, failure);
    to = put_number(to, "\",\"arena_bytes\":", MODEL_ARENA_BYTES);
    to = put_number(to, ",\"used_bytes\":", MOBO_ARENA_USED_BYTES);
    return end_line(line, to);
  }
  to = put(to, ",\"checksums\":[");
  for (i = 0; i < TEST_VECTORS; ++i) {
    infer(i);
    to = put(to, i == 0 ? "" : ",");
    to = put_hexadecimal(to, checksum(FNV_START, output, sizeof output));
  }
  stack = stack_bytes();
  for (i = 0; i < MOBO_INFERENCES; ++i) {
    uint32_t before;
    memcpy(model_input(), test_inputs + (size_t)(i % TEST_VECTORS) * MODEL_INPUT_BYTES, MODEL_INPUT_BYTES);
#if HAS_CYCLE_COUNTER
    if (has_cycles) {
      before = cycles();
      model_predict(NULL, output);
      counts[i] = cycles() - before;
      continue;
    }
#endif
    before = platform->ticks();
    model_predict(NULL, output);
    counts[i] = platform->ticks() - before;
  }
#if HAS_CYCLE_COUNTER
  if (has_cycles && platform->ticks_hz != 0) {
    clock_hz = measured_clock_hz(platform);
  }
#endif
  if (!has_cycles && platform->ticks_hz != 0) {
    const uint32_t count_hz = platform->is_emulated ? EMULATED_HZ : clock_hz;
    for (i = 0; i < MOBO_INFERENCES; ++i) {
      counts[i] = (uint32_t)(((uint64_t)counts[i] * count_hz + platform->ticks_hz / 2) / platform->ticks_hz);
    }
  }
  sort(counts, MOBO_INFERENCES);
  to = put(to, platform->is_emulated ? "],\"unit\":\"instructions\"" : "],\"unit\":\"cycles\"");
  to = put(to, has_cycles ? ",\"counter\":\"dwt\"" : ",\"counter\":\"ticks\"");
  to = put_number(to, ",\"clock_hz\":", clock_hz);
  to = put_number(to, ",\"inferences\":", MOBO_INFERENCES);
  to = put_number(to, ",\"min\":", counts[0]);
  to = put_number(to, ",\"median\":", counts[MOBO_INFERENCES / 2]);
  to = put_number(to, ",\"max\":", counts[MOBO_INFERENCES - 1]);
  to = put_number(to, ",\"stack_bytes\":", stack);
  to = put_number(to, ",\"arena_bytes\":", MOBO_ARENA_USED_BYTES);
  return end_line(line, to);
}

void mobo_keep_busy(const mobo_platform *platform) {
  const char *const failure = FAILURE;
  const uint32_t from = platform->ticks();
  int i = 0;
  do {
    if (failure == NULL) {
      infer(i = (i + 1) % TEST_VECTORS);
    }
  } while (platform->ticks() - from < platform->ticks_hz);
}
