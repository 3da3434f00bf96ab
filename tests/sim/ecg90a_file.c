#include "ecg90a_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OFF 0x6800u
#define ZERO 2048
#define WILD 0x7FFFu
#define FIELD 8u
#define DATE_FIELD 20u
#define FOOTER_MARK 27u
#define FOOTER_VALUE 0x16u

const enum ecg12_lead ecg90a_lead[ECG90A_LEADS] = {ECG12_II, ECG12_III, ECG12_V1, ECG12_V2,
                                                   ECG12_V3, ECG12_V4,  ECG12_V5, ECG12_V6};

static void put_field(struct buf *b, const char *text, size_t size) {
  char field[DATE_FIELD] = "";
  snprintf(field, size, "%s", text ? text : "");
  buf_add(b, field, size);
}

static void put_header(const struct ecg90a_options *o, struct buf *b) {
  char date[80] = "";
  if (o->taken.year > 0)
    snprintf(date, sizeof(date), "%04u-%02u-%02u %02u:%02u:%02u", o->taken.year, o->taken.month, o->taken.day,
             o->taken.hour, o->taken.minute, o->taken.second);
  if (o->damage == ECG90A_WORDS_DATE)
    snprintf(date, sizeof(date), "yesterday at noon");
  put_field(b, o->case_id ? o->case_id : "0000001", FIELD);
  buf_u16le(b, 0);
  put_field(b, date, DATE_FIELD);
  buf_u16le(b, 0);
  put_field(b, o->name, FIELD);
  buf_u8(b, o->sex == 'M' ? 1 : o->sex == 'F' ? 0 : 255);
  buf_u8(b, (uint8_t)o->age);
  buf_u8(b, (uint8_t)o->weight_kg);
}

static void put_row(const struct ecg90a_options *o, const struct ecg12 *ecg, size_t i, struct buf *b) {
  uint8_t off = (uint8_t)(o->off | (i >= o->off_from && i < o->off_end ? o->off_some : 0));
  bool middle = i == ecg->n / 2;
  for (unsigned k = 0; k < ECG90A_LEADS; k++) {
    unsigned v = off >> k & 1 ? OFF : (unsigned)(ecg->lead[ecg90a_lead[k]][i] + ZERO);
    if (middle && o->damage == ECG90A_EARLY_END)
      v = 0;
    if (middle && o->damage == ECG90A_WILD_VALUE && k == 2)
      v = WILD;
    buf_u16le(b, (uint16_t)v);
  }
}

int ecg90a_file_make(const struct ecg90a_options *o, const struct ecg12 *ecg, struct buf *ret) {
  uint8_t footer[ECG90A_FOOTER] = {[FOOTER_MARK] = FOOTER_VALUE};
  size_t from = ret->len;
  if (ecg->rate_hz != ECG90A_RATE_HZ)
    return -EINVAL;
  put_header(o, ret);
  for (size_t i = 0; i < ecg->n && o->damage != ECG90A_NO_ROWS; i++)
    put_row(o, ecg, i, ret);
  if (o->damage != ECG90A_NO_END && o->damage != ECG90A_CUT_ROW)
    buf_add(ret, footer, sizeof(footer));
  if (!ret->err && o->damage == ECG90A_CUT_ROW)
    ret->len -= 5;
  if (!ret->err && o->damage == ECG90A_SHORT)
    ret->len = from + ECG90A_HEADER - 10;
  return ret->err;
}

/* ---- from the command line ---- */

static const char *const damages[ECG90A_DAMAGES] = {"none",      "cut-row",    "no-end",  "short",
                                                    "early-end", "wild-value", "no-rows", "words-date"};

static bool take(struct ecg90a_options *o, const struct option *option) {
  uint64_t v;
  if (strcmp(option->key, "damage") == 0) {
    int word = file_word(option->value, damages, ECG90A_DAMAGES);
    o->damage = (enum ecg90a_damage)word;
    return word >= 0;
  }
  if (!option_number(option->value, UINT8_MAX, &v))
    return false;
  if (strcmp(option->key, "off") == 0)
    o->off = (uint8_t)v;
  else if (strcmp(option->key, "age") == 0)
    o->age = (unsigned)v;
  else if (strcmp(option->key, "weight") == 0)
    o->weight_kg = (unsigned)v;
  else
    return false;
  return true;
}

static int make(const struct file_order *order, struct buf *ret, char why[static 256]) {
  struct ecg90a_options o = {
      .name = order->person.family, .case_id = order->person.id, .sex = order->person.sex, .taken = order->taken};
  for (unsigned i = 0; i < order->n_options; i++)
    if (!take(&o, &order->options[i]))
      return file_refuse(&order->options[i], why);
  struct ecg12 *ecg = file_ecg(order, ECG90A_RATE_HZ, why);
  if (!ecg)
    return -EINVAL;
  int r = ecg90a_file_make(&o, ecg, ret);
  if (r == -EINVAL)
    snprintf(why, 256, "800 Hz and nothing else");
  free(ecg);
  return r;
}

const struct file_format ecg90a_format = {
    .name = "ecg90a",
    .help = "Contec ECG90A, .ECG; 800 Hz; the family name's first 7 characters, the id as case\n"
            "  age=YEARS  weight=KG\n"
            "  off=BITS          electrodes that are off: II, III, V1..V6 from the lowest bit (0)\n"
            "  damage=cut-row|no-end|short|early-end|wild-value|no-rows|words-date\n",
    .make = make,
};
