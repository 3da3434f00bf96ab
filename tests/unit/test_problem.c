/* Problems: codes, statuses, and a French sentence for each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "problem.h"
#include "str.h"
#include <asalee/wire.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGES "config/messages.fr"

/* In a child, as the sentences are read once a process: 0 or the status, with what was said. */
static int read_text(const char *text, char said[static 4096]) {
  char path[] = "/tmp/asaleed-messages-XXXXXX";
  int fd = mkstemp(path), pipe_fd[2], status;
  assert_int_equal(write(fd, text, strlen(text)), strlen(text));
  close(fd);
  assert_int_equal(pipe(pipe_fd), 0);
  pid_t pid = fork();
  if (pid == 0) {
    dup2(pipe_fd[1], STDERR_FILENO);
    _exit(problem_read_messages(path) == -EINVAL ? 1 : 0);
  }
  close(pipe_fd[1]);
  size_t n = 0;
  for (ssize_t got; (got = read(pipe_fd[0], said + n, 4095 - n)) > 0;)
    n += (size_t)got;
  said[n] = 0;
  close(pipe_fd[0]);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  unlink(path);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static char *whole(void) {
  FILE *f = fopen(MESSAGES, "r");
  char *text = calloc(1, 1 << 16);
  assert_non_null(f);
  text[fread(text, 1, (1 << 16) - 1, f)] = 0;
  fclose(f);
  return text;
}

static void test_codes(void **state) {
  (void)state;
  for (int p = 1; p < P_LAST; p++) {
    const char *code = problem_code((enum problem)p);
    assert_int_equal(problem_find(code), p);
    assert_int_equal(strspn(code, "abcdefghijklmnopqrstuvwxyz_"), strlen(code));
    assert_in_range(problem_status((enum problem)p), 400, 507);
    assert_true(strlen(problem_title((enum problem)p)) > 3);
    assert_string_equal(problem_detail((enum problem)p), problem_title((enum problem)p)); /* before they are read */
  }
  assert_int_equal(problem_find(""), P_internal);
  assert_int_equal(problem_find("ok"), P_internal);
  assert_int_equal(problem_find("no_such"), P_internal);
  assert_int_equal(problem_status(P_store_full), 507);
  assert_int_equal(problem_status(P_stale_token), 409);
  assert_int_equal(problem_status(P_precondition_required), 428);
}

static void test_errno(void **state) {
  (void)state;
  assert_int_equal(problem_of_errno(0), P_OK);
  assert_int_equal(problem_of_errno(3), P_OK);
  assert_int_equal(problem_of_errno(-ENOSPC), P_store_full);
  assert_int_equal(problem_of_errno(-EDQUOT), P_store_full);
  assert_int_equal(problem_of_errno(-EROFS), P_store_read_only);
  assert_int_equal(problem_of_errno(-EEXIST), P_already_exists);
  assert_int_equal(problem_of_errno(-EUCLEAN), P_artefact_corrupt);
  assert_int_equal(problem_of_errno(-ENOMEM), P_overloaded);
  assert_int_equal(problem_of_errno(-EIO), P_internal);
  /* Every error a worker may name is something that a nurse can be told, and none is P_OK. */
  for (int err = 1; err < 134; err++)
    for (int step = 0; step < 10; step++) {
      enum problem p = problem_of_device(-err, step);
      assert_in_range(p, P_OK + 1, P_LAST - 1);
      assert_int_not_equal(p, P_internal);
    }
  assert_int_equal(problem_of_device(-ENODEV, WIRE_STEP_OPEN), P_device_absent);
  assert_int_equal(problem_of_device(-EBUSY, WIRE_STEP_OPEN), P_device_open);
  assert_int_equal(problem_of_device(-ENODEV, WIRE_STEP_ACQUIRE), P_device_unplugged);
  assert_int_equal(problem_of_device(-EPROTO, WIRE_STEP_SANDBOX), P_worker_crashed); /* ours, not the instrument's */
  assert_int_equal(problem_of_device(-ENOMEM, WIRE_STEP_DECODE), P_worker_crashed);
}

static void test_wrong_messages(void **state) {
  (void)state;
  char said[4096], *text = whole(), *wrong = calloc(1, 1 << 17);
  static const struct {
    const char *line, *what;
  } cases[] = {
      {"no_such_code = Une phrase.", "unknown code"},     {"ok = Tout va bien.", "unknown code"},
      {"internal = Encore une fois.", "given twice"},     {"internal=Sans blancs.", "\"code = sentence\" is expected"},
      {"internal = ", "\"code = sentence\" is expected"}, {"internal", "\"code = sentence\" is expected"}};
  unsigned lines = 0;
  for (const char *c = text; *c; c++)
    lines += *c == '\n';
  assert_int_equal(read_text(text, said), 0);
  assert_string_equal(said, "");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char where[32];
    snprintf(wrong, 1 << 17, "%s%s\n", text, cases[i].line);
    assert_int_equal(read_text(wrong, said), 1);
    snprintf(where, sizeof where, ":%u: ", lines + 1);
    if (!strstr(said, where) || !strstr(said, cases[i].what))
      fail_msg("%s: said %s", cases[i].line, said);
  }
  /* Each sentence that is missing, or is not text. */
  for (int p = 1; p < P_LAST; p++) {
    char start[64];
    snprintf(start, sizeof start, "\n%s = ", problem_code((enum problem)p));
    char *at = strstr(text, start);
    assert_non_null(at);
    size_t head = (size_t)(at + 1 - text), line = strcspn(at + 1, "\n") + 1;
    snprintf(wrong, 1 << 17, "%.*s%s", (int)head, text, at + 1 + line);
    assert_int_equal(read_text(wrong, said), 1);
    assert_non_null(strstr(said, problem_code((enum problem)p)));
    snprintf(wrong, 1 << 17, "%s", text);
    wrong[head + strlen(start)] = (char)0xff;
    assert_int_equal(read_text(wrong, said), 1);
    assert_non_null(strstr(said, "not UTF-8"));
  }
  assert_int_equal(problem_read_messages("/nonexistent"), -ENOENT);
  free(text);
  free(wrong);
}

/* Last, as the sentences stay: each is French for a person, with its stop, and says more than the title. */
static void test_sentences(void **state) {
  (void)state;
  assert_int_equal(problem_read_messages(MESSAGES), 0);
  for (int p = 1; p < P_LAST; p++) {
    const char *text = problem_detail((enum problem)p);
    assert_string_not_equal(text, problem_title((enum problem)p));
    assert_true(str_is_clean_utf8(text, strlen(text)));
    assert_int_equal(text[strlen(text) - 1], '.');
    if (!strchr(text, '.') || strchr(text, '.') == text + strlen(text) - 1)
      if (!strchr(text, ':') && !strstr(text, ", "))
        fail_msg("%s: no next step: %s", problem_code((enum problem)p), text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_codes),
      cmocka_unit_test(test_errno),
      cmocka_unit_test(test_wrong_messages),
      cmocka_unit_test(test_sentences),
  };
  return cmocka_run_group_tests_name("problem", tests, NULL, NULL);
}
