/*
 * scp_code: the Huffman tables of section 2 of SCP-ECG, and numbers coded with them.
 *
 * An entry: prefix bits u8, total bits u8, table mode u8 (1: a value; 0: go on with the table that the base numbers,
 * from 1), base i16, code u32 with the first bit in the lowest place. The total - prefix bits that follow are a signed
 * number that is added to the base. Bits go into bytes from the highest on.
 */
#ifndef ASALEED_SIM_SCP_CODE_H
#define ASALEED_SIM_SCP_CODE_H

#include "buf.h"

#include <stdbool.h>

#define SCP_TABLES_MAX 3u
#define SCP_ENTRIES_MAX 256u

struct scp_entry {
  uint8_t prefix, total;
  bool is_switch;
  int16_t base;
  uint32_t code; /* its last bit in the lowest place */
};

struct scp_table {
  unsigned n;
  struct scp_entry entry[SCP_ENTRIES_MAX]; /* the shortest first */
};

struct scp_tables {
  unsigned n;
  struct scp_table table[SCP_TABLES_MAX];
};

/* What the tables are made for. */
struct scp_count {
  uint32_t of[65536]; /* of value - 32768 */
};

/* The table 19999. */
void scp_table_default(struct scp_table *ret);
/* The most frequent values up to `values` of them, -5..4 and two wide ranges if asked for, all others in 8 or 16 bits,
 * and switches to the other tables; code lengths by Huffman's method, at most 24 bits. */
void scp_table_make(struct scp_table *ret, const struct scp_count *count, unsigned values, bool ranges, unsigned self,
                    unsigned tables);

/* Section 2's contents. */
void scp_tables_write(const struct scp_tables *t, struct buf *ret);
/* Starts and ends in table 1; an even number of bytes. -ERANGE: a value beyond 16 bits. */
int scp_code_write(const struct scp_tables *t, const int32_t *values, size_t n, struct buf *ret);

#endif
