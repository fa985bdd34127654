/* Weights that are stored with fewer bits than they are computed with, 32 at a time ("a block"). */
#ifndef MOBO_UNPACK_H
#define MOBO_UNPACK_H

#include <stdint.h>

/* Unpacks blocks of weights to `to` and returns what lies behind them; both are aligned to words. Every weight comes
 * out plus half its range, in 8 bits or in 4, with the bits of `flip` turned over. */
typedef const uint8_t *(*mobo_unpack)(const uint8_t *packed, uint8_t *to, int blocks, uint32_t flip);

const uint8_t *mobo_unpack_w8s2(const uint8_t *packed, uint8_t *to, int blocks, uint32_t flip);
const uint8_t *mobo_unpack_w8s3(const uint8_t *packed, uint8_t *to, int blocks, uint32_t flip);
const uint8_t *mobo_unpack_w8s5(const uint8_t *packed, uint8_t *to, int blocks, uint32_t flip);
const uint8_t *mobo_unpack_w8s6(const uint8_t *packed, uint8_t *to, int blocks, uint32_t flip);
const uint8_t *mobo_unpack_w4s2(const uint8_t *packed, uint8_t *to, int blocks, uint32_t flip);
const uint8_t *mobo_unpack_w4s3(const uint8_t *packed, uint8_t *to, int blocks, uint32_t flip);

/* The blocks that hold so many weights. */
#define MOBO_BLOCKS(weights) (((weights) + 31) / 32)

/* Turned over, 8 bits and 4 are two's complement. */
#define MOBO_FLIP_W8 0x80808080u
#define MOBO_FLIP_W4 0x88888888u

#endif
