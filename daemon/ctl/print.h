/* What reaches a terminal: texts without control characters, tables, French words for the daemon's codes. */
#ifndef ASALEED_CTL_PRINT_H
#define ASALEED_CTL_PRINT_H

#include "buf.h"
#include "json.h"
#include <asalee/dec.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Appends text without C0, DEL, C1, bidirectional and line-separator controls; a byte that is not UTF-8 becomes "?",
 * a line feed or tab becomes a space, or stays when `lines`. */
int clean_text(struct buf *b, const char *text, size_t n, bool lines);
void print_text(FILE *f, const char *text);         /* the same, printed; NULL prints a dash */
size_t text_width(const char *text);                /* code points */
size_t text_prefix(const char *text, size_t width); /* the bytes of its first `width` code points */

/* JSON that already parsed, without the space between its parts, and one line feed. For a terminal the controls
 * that JSON allows unescaped are taken out. */
void print_json(FILE *f, const char *json, size_t n, bool tty);

/* Rows of cells under headings; print and finish. A table that found no memory prints what it has and says so. */
struct table {
  const char *const *heads; /* NULL-terminated */
  size_t columns;
  struct buf cells; /* char *, clean */
};
void table_init(struct table *t, const char *const *heads);
void table_finish(struct table *t);
void table_add(struct table *t, const char *text); /* the next cell; NULL for none */
void table_addf(struct table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
size_t table_rows(const struct table *t);
void table_print(struct table *t, FILE *f, const char *empty);

/* "Label      : text" */
void print_field(FILE *f, const char *label, const char *text);
void print_fieldf(FILE *f, const char *label, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Texts for people; they live until the eighth next call of any of these. */
const char *show_time(const char *rfc3339); /* "22/11/2025 09:05", local; the text itself when it is no time */
const char *show_date(const char *date);    /* "1957-03-02" as "02/03/1957" */
const char *show_age(int64_t seconds);
const char *show_patient(const json_t *patient); /* "DUPONT Marie", or the id */
const char *show_int(const json_t *object, const char *key);
const char *show_bytes(uint64_t bytes); /* "734 octets", "35 Kio", "1,2 Mio" */
/* With the comma that people read here; what is stored and sent has the point. "?" for NULL. */
const char *french_number(const char *text, char number[static DEC_TEXT_MAX]);

/* The text, or "?" for NULL. */
static inline const char *known(const char *text) {
  return text ? text : "?";
}

/* The French word for a code of the contract; the code itself when it has none. */
const char *say_state(const char *state);
const char *say_role(const char *role);
const char *say_modality(const char *modality);
const char *say_maturity(const char *maturity);
const char *say_conclusion(const char *conclusion);
const char *say_sex(const char *sex);
const char *say_severity(const char *severity);
const char *say_kind(const char *kind);
const char *say_store(const char *store);
const char *say_end(const char *end);
const char *say_file(const char *state);
const char *say_source(const char *source);
const char *say_why(const char *why);  /* a reading lies in the tray */
const char *say_out(const char *what); /* how it left it */
const char *say_media(const char *state);
const char *say_notice(const char *kind);
const char *say_sees(const char *part); /* what a protocol shows the nurse */
const char *say_ins_status(const char *status);

#endif
