#include "audit_line.h"

#include "buf.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE 65536u /* of a file that is read */

/* Each column as its length and its bytes: no two rows share one encoding. NULL has the length that no text has. */
int audit_row_hash(const struct audit_row *r, const uint8_t prev[static HASH_BYTES], uint8_t ret[static HASH_BYTES]) {
  _buf_cleanup_ struct buf b = BUF_INIT(1u << 20);
  const char *const texts[] = {r->actor, r->acting_for, r->action, r->subject, r->detail};
  buf_add(&b, prev, HASH_BYTES);
  buf_u64le(&b, (uint64_t)r->seq);
  buf_u64le(&b, (uint64_t)r->at);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    buf_u32le(&b, texts[i] ? (uint32_t)strlen(texts[i]) : UINT32_MAX);
    if (texts[i])
      buf_text(&b, texts[i]);
  }
  if (b.err == 0)
    hash_sha256(b.data, b.len, ret);
  return b.err;
}

json_t *audit_row_json(const struct audit_row *r, const void *hash, size_t hash_n) {
  json_t *detail = json_loads(r->detail, 0, NULL);
  char at[WALL_TEXT_MAX], hex[HASH_TEXT] = "";
  wall_format(wall_local(r->at), at);
  if (hash_n == HASH_BYTES)
    str_hex(hash, hash_n, hex);
  return json_pack("{s:s?, s:s, s:s, s:s, s:o, s:s, s:I, s:s}", "acting_for", r->acting_for, "action", r->action,
                   "actor", r->actor, "at", at, "detail", detail ? detail : json_null(), "hash", hex, "seq",
                   (json_int_t)r->seq, "subject", r->subject);
}

/* An object in its one canonical text. */
static int line_read(const char *line, size_t n, json_t **ret) {
  _json_cleanup_ json_t *item = NULL;
  char reason[256];
  int r = json_read(line, n, &item, reason);
  if (r < 0)
    return r == -ENOMEM ? r : -EUCLEAN;
  size_t again_n = 0;
  _free_cleanup_ char *again = json_canonical(item, &again_n);
  if (!again)
    return -ENOMEM;
  if (again_n != n || memcmp(again, line, n))
    return -EUCLEAN;
  *ret = json_incref(item);
  return 0;
}

static int row_follow(const json_t *item, struct audit_chain *c) {
  const char *at = json_text(item, "at"), *said = json_text(item, "hash");
  const json_t *detail = json_object_get(item, "detail"), *acting_for = json_object_get(item, "acting_for");
  struct audit_row row = {.actor = json_text(item, "actor"),
                          .acting_for = json_string_value(acting_for),
                          .action = json_text(item, "action"),
                          .subject = json_text(item, "subject")};
  struct wall wall;
  char hex[HASH_TEXT];
  if (json_object_size(item) != 8 || !at || wall_parse(at, &wall) < 0 || !said || !detail ||
      !(row.acting_for || json_is_null(acting_for)) || !row.actor || !row.action || !row.subject ||
      json_int(item, "seq", c->next, c->next, &row.seq) < 0)
    return -EUCLEAN;
  _free_cleanup_ char *text = json_canonical(detail, NULL);
  if (!text)
    return -ENOMEM;
  row.at = wall.us;
  row.detail = text;
  uint8_t hash[HASH_BYTES];
  int r = audit_row_hash(&row, c->hash, hash);
  if (r < 0)
    return r == -ENOMEM ? r : -EUCLEAN;
  str_hex(hash, sizeof hash, hex);
  if (strcmp(hex, said))
    return -EUCLEAN;
  memcpy(c->hash, hash, sizeof hash);
  c->at = row.at;
  c->next++;
  return 0;
}

int audit_line_follow(const char *line, size_t n, struct audit_chain *c) {
  _json_cleanup_ json_t *item = NULL;
  int r = line_read(line, n, &item);
  return r < 0 ? r : row_follow(item, c);
}

/* ---- heads ---- */

/* What is signed: a text that no other signature of the site is about. */
static size_t head_text(const struct audit_head *h, char ret[static 256]) {
  char hex[HASH_TEXT];
  str_hex(h->hash, sizeof h->hash, hex);
  return (size_t)snprintf(ret, 256, "asaleed audit head\nseq %" PRId64 "\nhash %s\nat %" PRId64 "\n", h->seq, hex,
                          h->at);
}

void audit_head_make(struct audit_head *h, const uint8_t secret[static SIGNATURE_SECRET]) {
  char text[256];
  size_t n = head_text(h, text);
  signature_make(secret, text, n, h->signature);
}

bool audit_head_holds(const struct audit_head *h, const struct audit_chain *c,
                      const uint8_t public[static SIGNATURE_PUBLIC]) {
  char text[256];
  size_t n = head_text(h, text);
  return h->seq == c->next - 1 && !memcmp(h->hash, c->hash, sizeof h->hash) && (c->at < 0 || h->at == c->at) &&
         !memcmp(h->key, public, sizeof h->key) && signature_holds(public, text, n, h->signature);
}

json_t *audit_head_json(const struct audit_head *h) {
  char hash[HASH_TEXT], key[2 * SIGNATURE_PUBLIC + 1], signature[2 * SIGNATURE_BYTES + 1];
  str_hex(h->hash, sizeof h->hash, hash);
  str_hex(h->key, sizeof h->key, key);
  str_hex(h->signature, sizeof h->signature, signature);
  return json_pack("{s:{s:I, s:s, s:s, s:I, s:s}}", "head", "at", (json_int_t)h->at, "hash", hash, "key", key, "seq",
                   (json_int_t)h->seq, "signature", signature);
}

/* Exactly n bytes as hex digits. */
static bool hex_member(const json_t *object, const char *key, uint8_t *ret, size_t n) {
  const char *text = json_text(object, key);
  return text && strlen(text) == 2 * n && strspn(text, "0123456789abcdef") == 2 * n && str_unhex(text, ret, n);
}

/* ---- an export ---- */

json_t *audit_first_json(const struct audit_chain *c, const uint8_t public[static SIGNATURE_PUBLIC]) {
  char previous[HASH_TEXT], key[2 * SIGNATURE_PUBLIC + 1];
  str_hex(c->hash, sizeof c->hash, previous);
  str_hex(public, SIGNATURE_PUBLIC, key);
  return json_pack("{s:i, s:I, s:s, s:s}", "asaleed_audit", 1, "first", (json_int_t)c->next, "previous", previous,
                   "public_key", key);
}

json_t *audit_erased_json(int64_t seq, const uint8_t hash[static HASH_BYTES]) {
  char hex[HASH_TEXT];
  str_hex(hash, HASH_BYTES, hex);
  return json_pack("{s:{s:s, s:I}}", "erased", "hash", hex, "seq", (json_int_t)seq);
}

json_t *audit_end_json(const struct audit_lines_check *c) {
  return json_pack("{s:{s:I, s:s, s:I, s:I, s:I}}", "end", "erased", (json_int_t)c->erased, "hash", c->head, "heads",
                   (json_int_t)c->heads, "rows", (json_int_t)c->rows, "seq", (json_int_t)c->last);
}

struct lines {
  struct audit_lines_check check;
  struct audit_chain chain;
  uint8_t key[SIGNATURE_PUBLIC];
  const uint8_t *known_key;
  int64_t n; /* lines so far */
  bool ended;
};

static int first_line(struct lines *l, const json_t *item) {
  int64_t version, first;
  if (!json_has_only(item, "asaleed_audit first previous public_key") ||
      json_int(item, "asaleed_audit", 1, 1, &version) < 0 || json_int(item, "first", 1, INT64_MAX - 1, &first) < 0 ||
      !hex_member(item, "previous", l->chain.hash, sizeof l->chain.hash) ||
      !hex_member(item, "public_key", l->key, sizeof l->key))
    return -EPROTO;
  static const uint8_t zeros[HASH_BYTES];
  l->chain.next = l->check.first = first;
  l->chain.at = -1;
  str_hex(l->key, sizeof l->key, l->check.public_key);
  const bool begins = first > 1 || !memcmp(l->chain.hash, zeros, sizeof zeros);
  return begins && (!l->known_key || !memcmp(l->known_key, l->key, sizeof l->key)) ? 0 : -EUCLEAN;
}

static int head_line(struct lines *l, const json_t *item) {
  struct audit_head h;
  if (!json_has_only(item, "at hash key seq signature") || json_int(item, "at", INT64_MIN, INT64_MAX, &h.at) < 0 ||
      json_int(item, "seq", l->check.signed_to + 1, INT64_MAX, &h.seq) < 0 ||
      !hex_member(item, "hash", h.hash, sizeof h.hash) || !hex_member(item, "key", h.key, sizeof h.key) ||
      !hex_member(item, "signature", h.signature, sizeof h.signature) || !audit_head_holds(&h, &l->chain, l->key))
    return -EUCLEAN;
  l->check.heads++;
  l->check.signed_to = h.seq;
  return 0;
}

static int erased_line(struct lines *l, const json_t *item) {
  int64_t seq;
  if (!json_has_only(item, "hash seq") || json_int(item, "seq", l->chain.next, INT64_MAX - 1, &seq) < 0 ||
      !hex_member(item, "hash", l->chain.hash, sizeof l->chain.hash))
    return -EUCLEAN;
  l->check.erased += seq + 1 - l->chain.next;
  l->chain.next = seq + 1;
  l->chain.at = -1;
  return 0;
}

static int end_line(struct lines *l, const json_t *item) {
  struct audit_lines_check c = l->check;
  c.last = l->chain.next - 1;
  str_hex(l->chain.hash, sizeof l->chain.hash, c.head);
  _json_cleanup_ json_t *want = audit_end_json(&c);
  l->ended = true;
  return !want ? -ENOMEM : json_equal(want, item) ? 0 : -EUCLEAN;
}

static int one_line(struct lines *l, const char *line, size_t n) {
  _json_cleanup_ json_t *item = NULL;
  l->n++;
  int r = l->ended ? -EUCLEAN : line_read(line, n, &item);
  if (l->n == 1 && r == -EUCLEAN)
    return -EPROTO;
  if (r < 0)
    return r;
  if (l->n == 1)
    return first_line(l, item);
  const json_t *head = json_object_get(item, "head"), *erased = json_object_get(item, "erased");
  if (json_object_get(item, "end"))
    return end_line(l, item);
  if (head || erased)
    return json_object_size(item) != 1 ? -EUCLEAN : head ? head_line(l, head) : erased_line(l, erased);
  r = row_follow(item, &l->chain);
  l->check.rows += r == 0;
  return r;
}

/* A piece of the file: lines that end in it, and the beginning of one that does not, kept in `part`. */
static int piece_follow(struct lines *l, struct buf *part, const char *at, size_t n) {
  const char *end = at + n;
  int r = 0;
  while (r == 0 && at < end) {
    const char *feed = memchr(at, '\n', (size_t)(end - at));
    const size_t width = (size_t)((feed ? feed : end) - at);
    if (feed && !part->len) {
      r = one_line(l, at, width);
    } else if (buf_add(part, at, width) < 0) { /* longer than any line */
      l->n++;
      r = part->err == -ENOMEM ? -ENOMEM : l->n == 1 ? -EPROTO : -EUCLEAN;
    } else if (feed) {
      r = one_line(l, (const char *)part->data, part->len);
      buf_reset(part);
    }
    at += width + (feed != NULL);
  }
  return r;
}

int audit_lines_verify(ssize_t (*read)(void *arg, void *bytes, size_t n), void *arg, const uint8_t *public_key,
                       struct audit_lines_check *ret) {
  struct lines l = {.known_key = public_key};
  _buf_cleanup_ struct buf part = BUF_INIT(AUDIT_LINE_MAX);
  _free_cleanup_ char *piece = malloc(PIECE);
  int r = piece ? 0 : -ENOMEM;
  while (r == 0) {
    const ssize_t got = read(arg, piece, PIECE);
    if (got < 0)
      return (int)got;
    if (got == 0)
      break;
    r = piece_follow(&l, &part, piece, (size_t)got);
  }
  if (r == 0 && (part.len || !l.ended)) { /* it ends in the middle */
    l.n++;
    r = l.n == 1 ? -EPROTO : -EUCLEAN;
  }
  if (r < 0 && r != -EUCLEAN)
    return r;
  l.check.ok = r == 0;
  l.check.broken_line = r == 0 ? 0 : l.n;
  l.check.last = l.chain.next - 1;
  str_hex(l.chain.hash, sizeof l.chain.hash, l.check.head);
  *ret = l.check;
  return 0;
}
