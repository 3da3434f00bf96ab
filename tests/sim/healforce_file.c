#include "healforce_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_SIZE 32768u
#define FILE_HEADER 6u
#define HEADER 16u
#define VERSION 13u
#define POINTERS 6u
#define POINTER 10u
#define ID_FIELD 30u
#define STREAM_ROOM 27000u /* what section 6's pointer gives it */
#define BEFORE 282u        /* zeros between section 3 and section 6 */
#define BEHIND 120u        /* ... section 6 and section 9 */
#define EVENTS 1792u       /* section 9 */
#define AVM_FIELD 9524u    /* as in the real file; not a number of nanovolts */
#define INTERVAL_FIELD 150u
#define OFFSET 512
#define BEAT 0x8000u
#define IRREGULAR 0x4000u

static const uint8_t section_ids[POINTERS] = {0, 1, 2, 3, 6, 9};

int healforce_step(const struct ecg12 *ecg, enum ecg12_lead lead, size_t i) {
  int v = ecg->lead[lead][i];
  int by = lead == ECG12_AVR || lead == ECG12_AVL || lead == ECG12_AVF ? 4 : 2;
  return v < 0 ? -((-v + by / 2) / by) : (v + by / 2) / by;
}

static void set16(struct buf *b, size_t at, unsigned v) {
  b->data[at] = (uint8_t)v;
  b->data[at + 1] = (uint8_t)(v >> 8);
}

static void set32(struct buf *b, size_t at, size_t v) {
  set16(b, at, v & 0xFFFF);
  set16(b, at + 2, (unsigned)(v >> 16));
}

static unsigned crc_of(const struct buf *b, size_t from, size_t end) {
  unsigned crc = 0;
  for (size_t i = from; i < end; i++) {
    crc ^= (unsigned)b->data[i] << 8;
    for (unsigned bit = 0; bit < 8; bit++)
      crc = crc & 0x8000 ? (crc << 1 ^ 0x1021) & 0xFFFF : crc << 1;
  }
  return crc;
}

static unsigned swapped(unsigned v) {
  return (v >> 8 | v << 8) & 0xFFFF;
}

static void put_zeros(struct buf *b, size_t n) {
  uint8_t *at = buf_extend(b, n);
  if (at)
    memset(at, 0, n);
}

static size_t put_header(struct buf *b, unsigned id) {
  size_t at = b->len;
  buf_u16le(b, 0);
  buf_u16le(b, (uint16_t)id);
  buf_u32le(b, 0);
  buf_u8(b, VERSION);
  buf_u8(b, VERSION);
  put_zeros(b, 6);
  return at;
}

static void put_patient(const struct healforce_options *o, struct buf *b) {
  char id[ID_FIELD] = "";
  const struct file_clock *t = &o->taken;
  snprintf(id, sizeof(id), "%s", o->id ? o->id : "00000");
  buf_u8(b, 2);
  buf_u16le(b, ID_FIELD);
  buf_add(b, id, ID_FIELD);
  if (t->year > 0) {
    buf_u8(b, 25);
    buf_u16le(b, 4);
    buf_add(b, (const uint8_t[]){(uint8_t)(t->year >> 8), (uint8_t)t->year, (uint8_t)t->month, (uint8_t)t->day}, 4);
    buf_u8(b, 26);
    buf_u16le(b, 3);
    buf_add(b, (const uint8_t[]){(uint8_t)t->hour, (uint8_t)t->minute, (uint8_t)t->second}, 3);
  }
  put_zeros(b, 4);
}

static bool at_beat(const struct healforce_options *o, const struct ecg12 *ecg, size_t i, bool *irregular) {
  for (size_t k = 0; k < ecg->n_beats; k++) {
    if (ecg->beat[k].fiducial != i)
      continue;
    *irregular = o->irregular_every && (k + 1) % o->irregular_every == 0;
    return true;
  }
  return false;
}

/* Sample by sample, the leads in turn: `first` is the group's first place in that row. */
static void put_group(const struct healforce_options *o, const struct ecg12 *ecg, size_t first, struct buf *b) {
  unsigned v[4], word[3];
  for (unsigned k = 0; k < 4; k++) {
    int step = healforce_step(ecg, o->leads[(first + k) % o->n_leads], (first + k) / o->n_leads) + OFFSET;
    v[k] = (unsigned)(step < 0 ? 0 : step > 1023 ? 1023 : step);
  }
  for (unsigned k = 0; k < 3; k++) {
    bool irregular = false;
    word[k] = v[k] | (v[3] >> (8 - 4 * k) & 15) << 10;
    if (at_beat(o, ecg, (first + k) / o->n_leads, &irregular))
      word[k] |= BEAT | (irregular ? IRREGULAR : 0);
    buf_u16le(b, (uint16_t)word[k]);
  }
}

static size_t put_rhythm(const struct healforce_options *o, const struct ecg12 *ecg, struct buf *b) {
  size_t all = ecg->n * o->n_leads, samples = all < HEALFORCE_SAMPLES_MAX ? all : HEALFORCE_SAMPLES_MAX;
  samples -= samples % (4 * o->n_leads);
  size_t bytes = samples / 4 * 6 - (o->damage == HEALFORCE_ODD_STREAM ? 2 : 0), at;
  buf_u16le(b, AVM_FIELD);
  buf_u16le(b, INTERVAL_FIELD);
  buf_u16le(b, 0);
  buf_u16le(b, (uint16_t)(o->damage == HEALFORCE_STREAM_LENGTH ? 65000 : bytes));
  at = b->len;
  for (size_t i = 0; i < samples; i += 4)
    put_group(o, ecg, i, b);
  if (b->err == 0)
    b->len = at + bytes;
  return samples / o->n_leads;
}

/* The contents of a section; how much of it its own length counts. */
static size_t put_section(const struct healforce_options *o, const struct ecg12 *ecg, unsigned id, struct buf *b,
                          size_t *ret_samples) {
  /* 2 and 3: bytes of the real file; the number of leads is all that is understood. */
  static const uint8_t codes[] = {0, 1, 0, 1, 0, 2, 1, 0, 0, 0, 0, 8, 0, 0};
  static const uint8_t leads[] = {4, 0x6D, 0x53, 4, 0, 0, 0x65, 4, 0, 5, 0};
  size_t at = put_header(b, id), own;
  if (id == 1) {
    put_patient(o, b);
  } else if (id == 2) {
    buf_add(b, codes, sizeof(codes));
  } else if (id == 3) {
    buf_u8(b, (uint8_t)o->n_leads);
    buf_add(b, leads, sizeof(leads));
  } else if (id == 6) {
    *ret_samples = put_rhythm(o, ecg, b);
    own = b->len - at;
    put_zeros(b, HEADER + 8 + STREAM_ROOM - own);
    return own;
  } else if (id == 9) {
    put_zeros(b, EVENTS - HEADER);
  }
  return b->len - at;
}

struct place {
  size_t at, own, n;
};

static void seal(const struct healforce_options *o, struct buf *file, const struct place *place, size_t size) {
  for (unsigned i = 0; i < POINTERS; i++) {
    bool rhythm = section_ids[i] == 6;
    size_t pointer = FILE_HEADER + HEADER + i * POINTER;
    set16(file, pointer, rhythm && o->damage == HEALFORCE_NO_RHYTHM ? 5 : section_ids[i]);
    set32(file, pointer + 2, place[i].n);
    set32(file, pointer + 6, rhythm && o->damage == HEALFORCE_POINTER_OUTSIDE ? FILE_SIZE : place[i].at);
    set32(file, place[i].at + 4, o->damage == HEALFORCE_ZERO_LENGTHS ? 0 : place[i].own);
  }
  for (unsigned i = 0; i < POINTERS; i++) {
    unsigned crc = crc_of(file, place[i].at + 2, place[i].at + place[i].n);
    if (section_ids[i] >= 6)
      crc = swapped(crc);
    set16(file, place[i].at, crc ^ (section_ids[i] == 6 && o->damage == HEALFORCE_SECTION_CRC ? 0x0180u : 0));
  }
  set16(file, 4, (unsigned)size);
  set16(file, 0, swapped(crc_of(file, 2, size)) ^ (o->damage == HEALFORCE_FILE_CRC ? 0x0180u : 0));
}

int healforce_file_make(const struct healforce_options *o, const struct ecg12 *ecg, struct buf *ret,
                        size_t *ret_samples) {
  struct buf _buf_cleanup_ file = BUF_INIT(FILE_SIZE);
  struct place place[POINTERS];
  size_t samples = 0;
  if (ecg->rate_hz != HEALFORCE_RATE_HZ || o->n_leads == 0 || o->n_leads > HEALFORCE_LEADS_MAX)
    return -EINVAL;
  put_zeros(&file, FILE_HEADER);
  for (unsigned i = 0; i < POINTERS; i++) {
    put_zeros(&file, section_ids[i] == 6 ? BEFORE : section_ids[i] == 9 ? BEHIND : 0);
    place[i].at = file.len;
    place[i].own = put_section(o, ecg, section_ids[i], &file, &samples);
    if (i == 0) {
      put_zeros(&file, POINTERS * POINTER);
      place[i].own = file.len - place[i].at;
    }
    place[i].n = file.len - place[i].at;
  }
  size_t size = file.len;
  put_zeros(&file, FILE_SIZE - file.len);
  if (file.err)
    return file.err;
  seal(o, &file, place, size);
  if (ret_samples)
    *ret_samples = samples;
  return buf_add(ret, file.data, o->damage == HEALFORCE_CUT ? 2000 : file.len);
}

/* ---- from the command line ---- */

static const char *const damages[HEALFORCE_DAMAGES] = {"none",          "cut",        "pointer-outside",
                                                       "stream-length", "no-rhythm",  "file-crc",
                                                       "section-crc",   "odd-stream", "zero-lengths"};

static bool take(struct healforce_options *o, const struct option *option) {
  uint64_t v;
  if (strcmp(option->key, "damage") == 0) {
    int word = file_word(option->value, damages, HEALFORCE_DAMAGES);
    o->damage = (enum healforce_damage)word;
    return word >= 0;
  }
  if (strcmp(option->key, "leads") == 0 && option_number(option->value, HEALFORCE_LEADS_MAX, &v) && v > 0)
    o->n_leads = (unsigned)v;
  else if (strcmp(option->key, "irregular") == 0 && option_number(option->value, 1000, &v))
    o->irregular_every = (unsigned)v;
  else
    return false;
  return true;
}

static int make(const struct file_order *order, struct buf *ret, char why[static 256]) {
  struct healforce_options o = {
      .id = order->person.id, .taken = order->taken, .leads = {ECG12_I, ECG12_II, ECG12_III}, .n_leads = 1};
  for (unsigned i = 0; i < order->n_options; i++)
    if (!take(&o, &order->options[i]))
      return file_refuse(&order->options[i], why);
  struct ecg12 *ecg = file_ecg(order, HEALFORCE_RATE_HZ, why);
  if (!ecg)
    return -EINVAL;
  int r = healforce_file_make(&o, ecg, ret, NULL);
  if (r == -EINVAL)
    snprintf(why, 256, "150 Hz and nothing else");
  free(ecg);
  return r;
}

const struct file_format healforce_format = {
    .name = "healforce",
    .help = "Heal Force Prince 180, .SCP; 150 Hz; of a person the id alone\n"
            "  leads=1|2|3       I, II, III in turn in one stream (1)\n"
            "  irregular=N       each N-th beat is marked as irregular (0: none)\n"
            "  damage=cut|pointer-outside|stream-length|no-rhythm|file-crc|section-crc|odd-stream|zero-lengths\n",
    .make = make,
};
