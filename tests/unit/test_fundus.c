/* A retinography's labels, pupil and views; what stands in the way of sending it to the reader; what is signed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "practice_bed.h"

#include "fundus.h"

static const struct conf_views *const views = &tous.acts[ACQ_FUNDUS].views;

static struct study order(struct store_bed *b, const char *act) {
  struct followup f;
  if (followup_find(b->store, 1, &f) == P_not_found)
    practice_admit(b, "P1");
  return study(b, practice_order(b, "P1", act));
}

static const char *eyes = ""; /* what the instrument says of the next pictures: a letter each */

/* A record of an acquisition with these pictures, a letter each: the same letter, the same bytes. */
static int64_t record(struct store_bed *b, int64_t of, int64_t acquisition, const char *pictures) {
  char sha[HASH_TEXT];
  static unsigned serial;
  serial++;
  assert_int_equal(artefact_put(b->artefacts, b->store, "record", &serial, sizeof serial, 1, sha), 0);
  assert_int_equal(store_run(b->store,
                             "INSERT INTO record(study, acquisition, sha256, driver, driver_version, program, complete,"
                             " clean, at) VALUES(?,?,?,'d','1','1',1,1,1)",
                             "iit", of, acquisition, sha),
                   1);
  int64_t id = store_last_id(b->store);
  for (int64_t i = 0; pictures[i]; i++) {
    assert_int_equal(artefact_put(b->artefacts, b->store, "blob", &pictures[i], 1, 1, sha), 0);
    const char eye[] = {(size_t)i < strlen(eyes) && eyes[i] != ' ' ? eyes[i] : 0, 0};
    assert_int_equal(store_run(b->store, "INSERT INTO picture(record, number, sha256, laterality) VALUES(?,?,?,?)",
                               "iitt", id, i + 1, sha, eye[0] ? eye : NULL),
                     1);
  }
  return id;
}

static int64_t acquire(struct store_bed *b, struct study *y, const char *pictures) {
  struct actor by = caller_actor(&ines);
  bed_begin(b);
  assert_int_equal(study_move(b->store, &by, ROLE_NURSE, y, EV_START, NULL), P_OK);
  assert_int_equal(store_run(b->store,
                             "INSERT INTO acquisition(study, device, driver, driver_version, program, node, seconds,"
                             " started, offset_minutes, by, ended) VALUES(?,'d','d','1','1','n',1,1,0,'u',2)",
                             "i", y->id),
                   1);
  int64_t id = record(b, y->id, store_last_id(b->store), pictures);
  assert_int_equal(store_run(b->store, "UPDATE study SET clean = 1 WHERE id = ?", "i", y->id), 1);
  assert_int_equal(study_move(b->store, &machine, ROLE_SYSTEM, y, EV_RECORD, NULL), P_OK);
  bed_keep(b);
  return id;
}

static enum problem label(struct store_bed *b, struct study *y, int64_t record_id, int64_t number,
                          const char *laterality, const char *field, const char *excluded) {
  struct fundus_label l = {record_id, number, laterality, field, excluded};
  size_t at;
  const char *wrong;
  return ACT(b, fundus_label(b->store, &ines, y, &l, 1, &at, &wrong));
}

/* The four views of the protocol, of the first four pictures. */
static void label_all(struct store_bed *b, struct study *y, int64_t record_id) {
  for (int i = 0; i < 4; i++)
    assert_int_equal(label(b, y, record_id, i + 1, i < 2 ? "R" : "L", i % 2 ? "disc" : "macula", NULL), P_OK);
}

static enum problem pupil(struct store_bed *b, struct study *y, bool dilated, const char *agent, const char *degree) {
  struct fundus_pupil p = {.dilated = dilated, .agents = {agent}, .n_agents = agent != NULL, .degree_mm = degree};
  const char *wrong;
  return ACT(b, fundus_pupil(b->store, &ines, y, &p, &wrong));
}

/* The study's JSON, compared as its canonical text. */
static void shows(struct store_bed *b, const struct study *y, bool texts, const char *member, const char *expected) {
  json_t *json;
  assert_int_equal(fundus_json(b->store, y->id, views, texts, &json), 0);
  char *text = json_dumps(json_object_get(json, member), JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
  assert_string_equal(text, expected);
  free(text);
  json_decref(json);
}

static uint16_t wanted(struct store_bed *b, const struct study *y) {
  uint16_t n = 99;
  assert_int_equal(fundus_wanted(b->store, y->id, views, &n), 0);
  return n;
}

/* ---- labels ---- */

static void test_label(void **state) {
  struct store_bed *b = *state;
  struct study y = order(b, "fundus");
  assert_int_equal(wanted(b, &y), 4);
  shows(b, &y, true, "pictures", "[]");
  shows(b, &y, true, "pupil", "null");
  assert_int_equal(label(b, &y, 1, 1, "R", "disc", NULL), P_wrong_state);
  int64_t id = acquire(b, &y, "ab"), version = y.version;
  assert_int_equal(id, 1);
  shows(b, &y, true, "pictures",
        "[{\"excluded\":null,\"field\":null,\"label\":null,\"laterality\":null,\"picture\":1,\"record\":\"R-1\"},"
        "{\"excluded\":null,\"field\":null,\"label\":null,\"laterality\":null,\"picture\":2,\"record\":\"R-1\"}]");
  assert_int_equal(label(b, &y, 1, 1, "R", "macula", NULL), P_OK);
  assert_int_equal(y.version, version + 1); /* who read the study before does not accept it as it is now */
  assert_int_equal(label(b, &y, 1, 2, NULL, NULL, "floue"), P_OK);
  shows(b, &y, true, "pictures",
        "[{\"excluded\":null,\"field\":\"macula\",\"label\":\"Œil droit, "
        "macula\",\"laterality\":\"R\",\"picture\":1,\"record\":\"R-1\"},"
        "{\"excluded\":\"floue\",\"field\":null,\"label\":\"Laissée de côté\",\"laterality\":null,\"picture\":2,"
        "\"record\":\"R-1\"}]");
  /* The newest counts; the older stay. */
  assert_int_equal(label(b, &y, 1, 2, "L", "disc", NULL), P_OK);
  assert_int_equal(label(b, &y, 1, 1, "L", "other", NULL), P_OK);
  shows(b, &y, true, "pictures",
        "[{\"excluded\":null,\"field\":\"other\",\"label\":\"Œil gauche, autre "
        "champ\",\"laterality\":\"L\",\"picture\":1,\"record\":\"R-1\"},"
        "{\"excluded\":null,\"field\":\"disc\",\"label\":\"Œil gauche, papille\",\"laterality\":\"L\",\"picture\":2,"
        "\"record\":\"R-1\"}]");
  assert_int_equal(bed_int(b, "SELECT count(*) FROM picture_label"), 4);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'study.label' AND subject = 'S-1'"), 4);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE detail LIKE '%floue%'"), 0);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE detail LIKE '%\"excluded\":true%'"), 1);
}

/* Free text about a patient is not for everybody. */
static void test_reason_masked(void **state) {
  struct store_bed *b = *state;
  struct study y = order(b, "fundus");
  int64_t id = acquire(b, &y, "a");
  assert_int_equal(label(b, &y, id, 1, NULL, NULL, "Mme F a bougé"), P_OK);
  shows(b, &y, false, "pictures",
        "[{\"excluded\":\"\",\"field\":null,\"label\":\"Laissée de côté\",\"laterality\":null,\"picture\":1,"
        "\"record\":\"R-1\"}]");
}

static void test_label_refused(void **state) {
  struct store_bed *b = *state;
  struct study y = order(b, "fundus"), other = order(b, "fundus"), ecg = order(b, "ecg");
  int64_t old = acquire(b, &y, "ab"), foreign = acquire(b, &other, "c");
  assert_int_equal(ACT(b, study_repeat(b->store, &ines, &y, "again")), P_OK);
  int64_t id = acquire(b, &y, "de");
  const struct {
    int64_t record, number;
    const char *field;
  } wrong[] = {{old, 1, "record"}, {foreign, 1, "record"}, {99, 1, "record"},
               {id, 3, "picture"}, {id, 0, "picture"},     {id, 1, "picture"} /* a second time */};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    struct fundus_label labels[] = {{id, 1, "R", "disc", NULL},
                                    {wrong[i].record, wrong[i].number, "R", "macula", NULL},
                                    {id, 2, "L", "disc", NULL}};
    size_t at = 99;
    const char *field = NULL;
    assert_int_equal(ACT(b, fundus_label(b->store, &ines, &y, labels, 3, &at, &field)), P_invalid_field);
    assert_int_equal(at, 1);
    assert_string_equal(field, wrong[i].field);
  }
  struct fundus_label good = {id, 1, "R", "disc", NULL};
  size_t at;
  const char *field;
  assert_int_equal(ACT(b, fundus_label(b->store, &adele, &y, &good, 1, &at, &field)), P_forbidden);
  assert_int_equal(ACT(b, fundus_label(b->store, &logiciel, &y, &good, 1, &at, &field)), P_forbidden);
  acquire(b, &ecg, "");
  assert_int_equal(ACT(b, fundus_label(b->store, &ines, &ecg, &good, 1, &at, &field)), P_wrong_state);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM picture_label"), 0); /* all of a request or nothing */
  assert_int_equal(ACT(b, fundus_label(b->store, &martin, &y, &good, 1, &at, &field)), P_OK);
}

/* A redecode makes a new record of the same pictures: what was said of them still holds. Of other bytes it does not. */
/* Whether a record of pictures with these contents, of one letter each, keeps the labels of the acquisition. */
static int keeps(struct store_bed *b, int64_t acquisition, const char *contents) {
  _json_cleanup_ json_t *pictures = json_array();
  for (int i = 0; contents[i]; i++) {
    char sha[HASH_TEXT];
    hash_sha256_text(&contents[i], 1, sha);
    json_array_append_new(pictures, json_pack("{s:i, s:s}", "number", i + 1, "sha256", sha));
  }
  _json_cleanup_ json_t *record = json_pack("{s:{s:O}}", "acquired", "pictures", pictures);
  return fundus_keeps_labels(b->store, acquisition, record);
}

/* What nobody has named, and nobody can name any more, does not come into an accepted study. */
static void test_keeps_labels(void **state) {
  struct store_bed *b = *state;
  struct study y = order(b, "fundus");
  int64_t id = acquire(b, &y, "abc"), other = acquire(b, &y, "d");
  assert_int_equal(keeps(b, 1, ""), 1);
  assert_int_equal(keeps(b, 1, "ab"), 0);
  assert_int_equal(label(b, &y, id, 1, "R", "disc", NULL), P_OK);
  assert_int_equal(label(b, &y, id, 2, NULL, NULL, "floue"), P_OK);
  assert_int_equal(label(b, &y, other, 1, "L", "disc", NULL), P_OK);
  assert_int_equal(keeps(b, 1, "ab"), 1);
  assert_int_equal(keeps(b, 1, "a"), 1);
  assert_int_equal(keeps(b, 1, "ba"), 0);  /* another order */
  assert_int_equal(keeps(b, 1, "abc"), 0); /* one more */
  assert_int_equal(keeps(b, 1, "ax"), 0);  /* other bytes */
  assert_int_equal(keeps(b, 1, "d"), 0);   /* of the other acquisition */
  assert_int_equal(keeps(b, 2, "d"), 1);
}

static void test_redecode(void **state) {
  struct store_bed *b = *state;
  struct study y = order(b, "fundus");
  int64_t id = acquire(b, &y, "ab");
  assert_int_equal(label(b, &y, id, 1, "R", "disc", NULL), P_OK);
  assert_int_equal(label(b, &y, id, 2, "L", "disc", NULL), P_OK);
  bed_begin(b);
  int64_t again = record(b, y.id, 1, "ax");
  assert_int_equal(store_run(b->store, "INSERT INTO supersession VALUES(?, 1, 'u', 'redecode')", "i", id), 1);
  bed_keep(b);
  shows(b, &y, true, "pictures",
        "[{\"excluded\":null,\"field\":\"disc\",\"label\":\"Œil droit, papille\",\"laterality\":\"R\",\"picture\":1,"
        "\"record\":\"R-2\"},"
        "{\"excluded\":null,\"field\":null,\"label\":null,\"laterality\":null,\"picture\":2,\"record\":\"R-2\"}]");
  assert_int_equal(label(b, &y, again, 1, "R", "macula", NULL), P_OK);
  /* The same bytes in another acquisition are another picture. */
  int64_t third = acquire(b, &y, "ab");
  assert_int_equal(third, 3);
  shows(b, &y, true, "pictures",
        "[{\"excluded\":null,\"field\":\"macula\",\"label\":\"Œil droit, macula\",\"laterality\":\"R\",\"picture\":1,"
        "\"record\":\"R-2\"},"
        "{\"excluded\":null,\"field\":null,\"label\":null,\"laterality\":null,\"picture\":2,\"record\":\"R-2\"},"
        "{\"excluded\":null,\"field\":null,\"label\":null,\"laterality\":null,\"picture\":1,\"record\":\"R-3\"},"
        "{\"excluded\":null,\"field\":null,\"label\":null,\"laterality\":null,\"picture\":2,\"record\":\"R-3\"}]");
}

/* ---- views ---- */

static void test_views(void **state) {
  struct store_bed *b = *state;
  struct study y = order(b, "fundus");
  int64_t id = acquire(b, &y, "abcd");
  shows(b, &y, true, "missing",
        "[\"Œil droit, macula\",\"Œil droit, papille\",\"Œil gauche, macula\",\"Œil gauche, papille\"]");
  assert_int_equal(label(b, &y, id, 3, "L", "macula", NULL), P_OK);
  assert_int_equal(label(b, &y, id, 1, "R", "macula", NULL), P_OK);
  assert_int_equal(label(b, &y, id, 2, "R", "other", NULL), P_OK);
  shows(b, &y, true, "missing", "[\"Œil droit, papille\",\"Œil gauche, papille\"]");
  shows(b, &y, true, "views",
        "[{\"field\":\"macula\",\"laterality\":\"R\",\"picture\":\"R-1/1\",\"text\":\"Œil droit, macula\"},"
        "{\"field\":\"disc\",\"laterality\":\"R\",\"picture\":null,\"text\":\"Œil droit, papille\"},"
        "{\"field\":\"macula\",\"laterality\":\"L\",\"picture\":\"R-1/3\",\"text\":\"Œil gauche, macula\"},"
        "{\"field\":\"disc\",\"laterality\":\"L\",\"picture\":null,\"text\":\"Œil gauche, papille\"}]");
  assert_int_equal(wanted(b, &y), 2);
  shows(b, &y, true, "repeated", "[]");
  /* Another session of the study: an eye twice. The newest stands for the view. */
  int64_t second = acquire(b, &y, "efg");
  assert_int_equal(label(b, &y, second, 1, "R", "macula", NULL), P_OK);
  assert_int_equal(label(b, &y, second, 2, "R", "disc", NULL), P_OK);
  assert_int_equal(label(b, &y, second, 3, "L", "disc", NULL), P_OK);
  assert_int_equal(label(b, &y, id, 4, "L", "disc", NULL), P_OK);
  shows(b, &y, true, "missing", "[]");
  shows(b, &y, true, "repeated", "[\"Œil droit, macula : R-1/1, R-2/1\",\"Œil gauche, papille : R-1/4, R-2/3\"]");
  assert_int_equal(wanted(b, &y), 1); /* one more is what she asks for by acquiring */
  /* Left out, it counts for nothing. */
  assert_int_equal(label(b, &y, id, 1, NULL, NULL, "floue"), P_OK);
  assert_int_equal(label(b, &y, second, 3, NULL, NULL, "floue"), P_OK);
  shows(b, &y, true, "repeated", "[]");
  shows(b, &y, true, "missing", "[]");
}

/* Other fields of an eye are many: a protocol may ask for several, and none of them is a repetition. */
static void test_other_fields(void **state) {
  struct store_bed *b = *state;
  static const struct conf_views others = {{{"R", "other"}, {"R", "disc"}, {"R", "other"}}, 3};
  struct study y = order(b, "fundus");
  int64_t id = acquire(b, &y, "abc");
  uint16_t n;
  bool whole;
  json_t *json;
  for (int i = 1; i <= 3; i++)
    assert_int_equal(label(b, &y, id, i, "R", i == 2 ? "disc" : "other", NULL), P_OK);
  assert_int_equal(pupil(b, &y, false, NULL, NULL), P_OK);
  assert_int_equal(fundus_check(b->store, y.id, &others, &whole), P_OK);
  assert_true(whole);
  assert_int_equal(fundus_json(b->store, y.id, &others, true, &json), 0);
  const json_t *list = json_object_get(json, "views");
  assert_string_equal(json_text(json_array_get(list, 0), "picture"), "R-1/3");
  assert_string_equal(json_text(json_array_get(list, 1), "picture"), "R-1/2");
  assert_string_equal(json_text(json_array_get(list, 2), "picture"), "R-1/1");
  json_decref(json);
  assert_int_equal(label(b, &y, id, 3, "L", "other", NULL), P_OK);
  assert_int_equal(fundus_wanted(b->store, y.id, &others, &n), 0);
  assert_int_equal(n, 1);
  assert_int_equal(fundus_check(b->store, y.id, &others, &whole), P_OK);
  assert_false(whole);
}

/* The eye is the nurse's word; where the instrument says another, it is for her to confirm. */
static void test_eye_of_the_instrument(void **state) {
  struct store_bed *b = *state;
  struct study y = order(b, "fundus");
  bool whole = false;
  json_t *json;
  eyes = "RR L";
  int64_t id = acquire(b, &y, "abcd");
  eyes = "";
  assert_int_equal(pupil(b, &y, false, NULL, NULL), P_OK);
  label_all(b, &y, id);
  assert_int_equal(fundus_check(b->store, y.id, views, &whole), P_OK);
  assert_true(whole);
  assert_int_equal(fundus_json(b->store, y.id, views, true, &json), 0);
  assert_string_equal(json_text(json_array_get(json_object_get(json, "pictures"), 3), "instrument"), "L");
  assert_null(json_object_get(json_array_get(json_object_get(json, "pictures"), 4), "instrument"));
  json_decref(json);
  for (int i = 0; i < 4; i++) /* the eyes the other way round: all views are there */
    assert_int_equal(label(b, &y, id, i + 1, i < 2 ? "L" : "R", i % 2 ? "disc" : "macula", NULL), P_OK);
  assert_int_equal(fundus_check(b->store, y.id, views, &whole), P_OK);
  assert_false(whole);
}

/* ---- the pupil ---- */

static void test_pupil(void **state) {
  struct store_bed *b = *state;
  struct study y = order(b, "fundus");
  assert_int_equal(pupil(b, &y, false, NULL, NULL), P_wrong_state);
  acquire(b, &y, "a");
  assert_int_equal(pupil(b, &y, false, NULL, NULL), P_OK);
  shows(b, &y, true, "pupil", "{\"agents\":[],\"degree_mm\":null,\"dilated\":false}");
  struct fundus_pupil p = {
      .dilated = true, .agents = {"tropicamide", "phenylephrine"}, .n_agents = 2, .degree_mm = "6.5"};
  const char *wrong;
  int64_t version = y.version;
  assert_int_equal(ACT(b, fundus_pupil(b->store, &ines, &y, &p, &wrong)), P_OK);
  assert_int_equal(y.version, version + 1);
  shows(b, &y, true, "pupil",
        "{\"agents\":[\"tropicamide\",\"phenylephrine\"],\"degree_mm\":\"6.5\",\"dilated\":true}");
  static const struct {
    struct fundus_pupil pupil;
    enum problem problem;
    const char *field;
  } cases[] = {
      {{true, {NULL}, 0, NULL}, P_missing_field, "agents"},
      {{false, {"atropine"}, 1, NULL}, P_invalid_field, "agents"},
      {{true, {"coffee"}, 1, NULL}, P_invalid_field, "agents"},
      {{true, {"Atropine"}, 1, NULL}, P_invalid_field, "agents"},
      {{true, {"atropine", "atropine"}, 2, NULL}, P_invalid_field, "agents"},
      {{false, {NULL}, 0, "6"}, P_invalid_field, "degree_mm"},
      {{true, {"atropine"}, 1, ""}, P_invalid_field, "degree_mm"},
      {{true, {"atropine"}, 1, "0.9"}, P_invalid_field, "degree_mm"},
      {{true, {"atropine"}, 1, "12.1"}, P_invalid_field, "degree_mm"},
      {{true, {"atropine"}, 1, "6.55"}, P_invalid_field, "degree_mm"},
      {{true, {"atropine"}, 1, "-6"}, P_invalid_field, "degree_mm"},
      {{true, {"atropine"}, 1, "6,5"}, P_invalid_field, "degree_mm"},
      {{true, {"atropine"}, 1, "1"}, P_OK, NULL},
      {{true, {"tropicamide", "phenylephrine", "cyclopentolate", "atropine"}, 4, "12.0"}, P_OK, NULL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    enum problem got = ACT(b, fundus_pupil(b->store, &ines, &y, &cases[i].pupil, &wrong));
    if (got != cases[i].problem)
      fail_msg("case %zu: %s", i, problem_code(got));
    if (cases[i].field)
      assert_string_equal(wrong, cases[i].field);
  }
  assert_int_equal(ACT(b, fundus_pupil(b->store, &adele, &y, &p, &wrong)), P_forbidden);
}

/* ---- to the reader ---- */

/* It was said of the pictures that were set aside: she may have dilated since. */
static void test_pupil_repeated(void **state) {
  struct store_bed *b = *state;
  struct study y = order(b, "fundus");
  acquire(b, &y, "abcd");
  assert_int_equal(pupil(b, &y, false, NULL, NULL), P_OK);
  assert_int_equal(ACT(b, study_repeat(b->store, &ines, &y, "floues")), P_OK);
  label_all(b, &y, acquire(b, &y, "efgh"));
  shows(b, &y, true, "pupil", "null");
  assert_int_equal(ACT(b, study_accept(b->store, &ines, &practice, &y, true, NULL)), P_pupil_missing);
  assert_int_equal(pupil(b, &y, true, "tropicamide", NULL), P_OK);
  assert_int_equal(ACT(b, study_accept(b->store, &ines, &practice, &y, true, NULL)), P_OK);
}

static void test_accept(void **state) {
  struct store_bed *b = *state;
  struct study y = order(b, "fundus");
  acquire(b, &y, "");
#define ACCEPT(confirmed) ACT(b, study_accept(b->store, &ines, &practice, &y, confirmed, NULL))
  assert_int_equal(ACCEPT(true), P_pictures_none);
  int64_t id = acquire(b, &y, "abcde");
  assert_int_equal(ACCEPT(true), P_pictures_unlabelled);
  for (int i = 1; i <= 5; i++)
    assert_int_equal(label(b, &y, id, i, NULL, NULL, "floue"), P_OK);
  assert_int_equal(ACCEPT(true), P_pictures_none);
  label_all(b, &y, id);
  assert_int_equal(ACCEPT(true), P_pupil_missing);
  assert_int_equal(pupil(b, &y, false, NULL, NULL), P_OK);
  assert_int_equal(label(b, &y, id, 5, "R", "disc", NULL), P_OK); /* repeated */
  assert_int_equal(ACCEPT(false), P_confirmation_needed);
  assert_int_equal(label(b, &y, id, 2, NULL, NULL, "floue"), P_OK); /* once again */
  assert_int_equal(label(b, &y, id, 4, NULL, NULL, "floue"), P_OK); /* missing */
  assert_int_equal(ACCEPT(false), P_confirmation_needed);
  assert_int_equal(label(b, &y, id, 4, "L", "disc", NULL), P_OK);
  bed_begin(b);
  assert_int_equal(store_run(b->store, "UPDATE study SET clean = 0 WHERE id = ?", "i", y.id), 1);
  bed_keep(b);
  assert_int_equal(study_find(b->store, y.id, &y), P_OK);
  assert_int_equal(ACCEPT(false), P_confirmation_needed);
  bed_begin(b);
  assert_int_equal(store_run(b->store, "UPDATE study SET clean = 1 WHERE id = ?", "i", y.id), 1);
  bed_keep(b);
  assert_int_equal(study_find(b->store, y.id, &y), P_OK);
  assert_int_equal(ACCEPT(false), P_OK);
  assert_int_equal(y.due - y.accepted, 36 * 3600 * INT64_C(1000000));
  /* What the reader has before him is not relabelled. */
  assert_int_equal(label(b, &y, id, 1, "L", "disc", NULL), P_wrong_state);
  assert_int_equal(pupil(b, &y, false, NULL, NULL), P_wrong_state);
}

static void test_accept_confirmed(void **state) {
  struct store_bed *b = *state;
  struct study y = order(b, "fundus");
  int64_t id = acquire(b, &y, "a");
  assert_int_equal(label(b, &y, id, 1, "R", "disc", NULL), P_OK);
  assert_int_equal(pupil(b, &y, true, "tropicamide", NULL), P_OK);
  assert_int_equal(ACCEPT(true), P_OK);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE detail LIKE '%\"confirmed\":true%'"), 1);
}

/* ---- the signature ---- */

/* The hash of what a signature covers of the pictures. */
static void signed_hash(struct store_bed *b, const struct study *of, char ret[static HASH_TEXT]) {
  char token[CLAIM_DIGITS + 1];
  struct study y = *of;
  const char *field = "";
  _json_cleanup_ json_t *findings = json_pack("{s:s, s:s}", "left_retinopathy", "none", "right_retinopathy", "none");
  const struct conclusion x = {.conclusion = "normal", .findings = findings, .text = "t"};
  bed_begin(b); /* undone: the same study is signed again and again */
  assert_int_equal(study_accept(b->store, &ines, &practice, &y, true, NULL), P_OK);
  assert_int_equal(study_claim(b->store, &martin, &practice, &y, token), P_OK);
  if (interpret_sign(b->store, &martin, &y, token, practice_shown(b, &y, NULL), &x, NULL, &field) != P_OK)
    fail_msg("%s", field);
  struct rows r = store_query(b->store, "SELECT json_extract(statement, '$.fundus') FROM interpretation", "");
  assert_true(rows_next(&r));
  hash_sha256_text(rows_text(&r, 0), strlen(rows_text(&r, 0)), ret);
  assert_int_equal(rows_finish(&r), 0);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
}

static void test_sign_binds(void **state) {
  struct store_bed *b = *state;
  struct study y = order(b, "fundus");
  int64_t id = acquire(b, &y, "abcd");
  char hash[6][HASH_TEXT], expected[HASH_TEXT], again[HASH_TEXT];
  label_all(b, &y, id);
  assert_int_equal(pupil(b, &y, false, NULL, NULL), P_OK);
  signed_hash(b, &y, hash[0]);
  signed_hash(b, &y, again);
  assert_string_equal(hash[0], again);
  /* Written out once. */
  char text[2048], sha[5][HASH_TEXT];
  struct rows r = store_query(
      b->store, "SELECT sha256 FROM record UNION ALL SELECT * FROM (SELECT sha256 FROM picture ORDER BY number)", "");
  for (int i = 0; i < 5; i++) {
    assert_true(rows_next(&r));
    str_copy(sha[i], HASH_TEXT, rows_text(&r, 0));
  }
  assert_int_equal(rows_finish(&r), 0);
  size_t n = (size_t)snprintf(text, sizeof text, "{\"pictures\":[");
  for (int i = 0; i < 4; i++)
    n += (size_t)snprintf(text + n, sizeof text - n,
                          "%s{\"excluded\":null,\"field\":\"%s\",\"laterality\":\"%s\",\"picture\":%d,"
                          "\"record\":\"R-1\",\"sha256\":\"%s\"}",
                          i ? "," : "", i % 2 ? "disc" : "macula", i < 2 ? "R" : "L", i + 1, sha[i + 1]);
  n += (size_t)snprintf(text + n, sizeof text - n, "],\"pupil\":{\"agents\":[],\"degree_mm\":null,\"dilated\":false}}");
  hash_sha256_text(text, n, expected);
  assert_string_equal(hash[0], expected);
  /* Each thing that is said changes it. */
  assert_int_equal(label(b, &y, id, 1, "L", "macula", NULL), P_OK);
  signed_hash(b, &y, hash[1]);
  assert_int_equal(label(b, &y, id, 1, "L", "other", NULL), P_OK);
  signed_hash(b, &y, hash[2]);
  assert_int_equal(label(b, &y, id, 1, NULL, NULL, "floue"), P_OK);
  signed_hash(b, &y, hash[3]);
  assert_int_equal(pupil(b, &y, true, "tropicamide", NULL), P_OK);
  signed_hash(b, &y, hash[4]);
  assert_int_equal(pupil(b, &y, true, "tropicamide", "6"), P_OK);
  signed_hash(b, &y, hash[5]);
  for (int i = 0; i < 6; i++)
    for (int k = 0; k < i; k++)
      assert_string_not_equal(hash[i], hash[k]);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, practice_setup, bed_teardown)
  const struct CMUnitTest tests[] = {
      TEST(label),          TEST(reason_masked),         TEST(label_refused), TEST(redecode),
      TEST(views),          TEST(eye_of_the_instrument), TEST(keeps_labels),  TEST(pupil),
      TEST(pupil_repeated), TEST(other_fields),          TEST(accept),        TEST(accept_confirmed),
      TEST(sign_binds),
  };
  return cmocka_run_group_tests_name("fundus", tests, NULL, NULL);
}
