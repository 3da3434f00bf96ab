/* The prefix codes of section 2, by which sections 5 and 6 are packed. Bits go from a byte's highest to its lowest.
 *
 *   section 2   number of tables u16: 0 none (the data are 16-bit numbers), 19999 the default table, which is not
 * there; else of each table: number of codes u16, of each code 9 bytes: bits of the prefix u8, bits of it all u8, mode
 * u8 (0: the table number `base` goes on from here, counted from 1), base i16, prefix u32 with the first bit lowest.
 * What is longer than the prefix is a signed number that adds to `base`. default     0 is 0; k ones (1 to 8), a zero
 * and a sign are +-k; nine ones, a zero and 8 bits; ten ones and 16 bits
 *
 * A lookup of SCP_LOOK_BITS bits gives up to six values at once, or the code with more to it that begins there; what is
 * longer is found in the tree of all prefixes. */
#ifndef FILE_SCP_ECG_CODE_H
#define FILE_SCP_ECG_CODE_H

#include <asalee/bytes.h>

#define SCP_LOOK_BITS 11
#define SCP_LOOK_VALUES 6
#define SCP_TABLES_MAX 32
#define SCP_CODES_MAX 8192  /* of all tables */
#define SCP_NODES_MAX 65536 /* of all prefixes */
#define SCP_EXTRA_MAX 24    /* bits of a number behind a prefix: more is no sample */
#define SCP_SLACK 8         /* values behind those asked for that may be overwritten */

struct scp_code {
  int32_t base;
  uint8_t prefix, extra; /* bits */
  bool is_switch;
};

/* n > 0: values; n = 0: the code of that number, or (bits = 0) none that is short enough. */
struct scp_look {
  union {
    int8_t value[SCP_LOOK_VALUES];
    uint16_t code;
  };
  uint8_t n, bits;
};

struct scp_codes {
  unsigned n_tables, n_codes, n_nodes;
  bool looked[SCP_TABLES_MAX]; /* the lookup of this table is made */
  struct scp_code codes[SCP_CODES_MAX];
  int32_t nodes[SCP_NODES_MAX][2]; /* 0 nothing, else a node, or -1 - a code; the tables' roots come first */
  struct scp_look look[SCP_TABLES_MAX][1 << SCP_LOOK_BITS];
};

/* The codes of a section 2; *ret is NULL when the data are not packed. They are static memory: until the next call.
 * -EPROTO with *ret_why for tables that cannot be. */
int scp_codes_open(struct acq_cur body, struct scp_codes **ret, const char **ret_why);

/* How a stream ended: all values asked for came; its bits were used up before; no table has these bits. */
enum scp_end { SCP_WHOLE, SCP_SHORT, SCP_NO_CODE };

struct scp_stream {
  size_t n; /* values */
  enum scp_end end;
  size_t bits_left;
};

/* Reads at most max values; there must be room for SCP_SLACK more. */
struct scp_stream scp_codes_read(struct scp_codes *c, const uint8_t *bytes, size_t n, int32_t *values, size_t max);

#endif
