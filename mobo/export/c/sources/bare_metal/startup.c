/* Start-up of a Cortex-M without a vendor's library: vectors, memory, main. */
#include <stdint.h>

/* Arrays, because the compiler may take the addresses of two variables for different ones. */
extern uint32_t stack_top[], data_load[], data_start[], data_end[], bss_start[], bss_end[];
int main(void);

void fault(void) {
  for (;;) {
  }
}

/* Whoever wants SysTick's interrupt defines it. */
void systick(void) __attribute__((weak, alias("fault")));

void reset(void) {
  const uint32_t *from = data_load;
  volatile uint32_t *to;
#if defined(__ARM_FP)
  /* Switches the floating-point unit on. */
  *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;
#endif
  for (to = data_start; to < data_end;) {
    *to++ = *from++;
  }
  for (to = bss_start; to < bss_end;) {
    *to++ = 0;
  }
  main();
  fault();
}

typedef void (*vector)(void);

__attribute__((section(".vectors"), used)) static const struct {
  uint32_t *stack;
  vector handlers[15];
} vectors = {stack_top,
             {reset, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, systick}};
