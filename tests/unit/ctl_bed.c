#include "ctl_bed.h"

#include "ctl.h"
#include "hash.h"
#include "str.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

char directory[64], socket_path[96], token_path[96], file_path[96];
static char log_path[96];
char *out_text, *err_text;
size_t out_n;

/* ---- running ------------------------------------------------------------------------------------------------ */

int run_argv(const char *const *args, FILE *out) {
  char *argv[32] = {(char[]){"asaleectl"}};
  int argc = 1;
  size_t err_n;
  while (args[argc - 1] && argc < 31) {
    argv[argc] = strdup(args[argc - 1]);
    argc++;
  }
  free(err_text);
  FILE *err = open_memstream(&err_text, &err_n), *mine = NULL;
  if (!out) {
    free(out_text);
    mine = open_memstream(&out_text, &out_n);
  }
  int r = ctl_run(argc, argv, out ? out : mine, err);
  if (mine)
    fclose(mine);
  fclose(err);
  for (int i = 1; i < argc; i++)
    free(argv[i]);
  return r;
}

void write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, text, strlen(text)), strlen(text));
  close(fd);
}

char *read_file(const char *path) {
  FILE *f = fopen(path, "re");
  if (!f)
    return calloc(1, 1);
  char *text = calloc(1, 1u << 20);
  size_t n = fread(text, 1, (1u << 20) - 1, f);
  text[n] = 0;
  fclose(f);
  return text;
}

int bed_open(void **state) {
  (void)state;
  snprintf(directory, sizeof directory, "/tmp/test_ctl_main.XXXXXX");
  if (!mkdtemp(directory))
    return -1;
  snprintf(socket_path, sizeof socket_path, "%s/s", directory);
  snprintf(token_path, sizeof token_path, "%s/token", directory);
  snprintf(log_path, sizeof log_path, "%s/log", directory);
  snprintf(file_path, sizeof file_path, "%s/file", directory);
  write_file(token_path, "secret-token\n");
  setenv("ASALEED_SOCKET", socket_path, 1);
  unsetenv("ASALEED_TOKEN_FILE");
  setenv("TZ", "Europe/Paris", 1);
  return hash_open();
}

int bed_close(void **state) {
  (void)state;
  free(out_text);
  free(err_text);
  unlink(socket_path);
  unlink(token_path);
  unlink(log_path);
  unlink(file_path);
  return rmdir(directory); /* fails when a temporary file was left */
}

void has(const char *text, const char *part) {
  if (!text || !strstr(text, part))
    fail_msg("« %s » is not in: %s", part, text ? text : "");
}

void has_not(const char *text, const char *part) {
  if (!text || strstr(text, part))
    fail_msg("« %s » is in: %s", part, text ? text : "");
}

/* What a command writes to a terminal. */
const char *run_on_terminal(const char *const *args, int expected) {
  static char text[65536];
  int master, slave;
  struct winsize size = {.ws_row = 24, .ws_col = 60};
  setenv("TERM", "xterm", 1);
  assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
  fcntl(master, F_SETFL, O_NONBLOCK);
  FILE *out = fdopen(slave, "w");
  assert_int_equal(run_argv(args, out), expected);
  size_t n = 0;
  ssize_t r;
  while ((r = read(master, text + n, sizeof text - 1 - n)) > 0)
    n += (size_t)r;
  text[n] = 0;
  fclose(out);
  close(master);
  return text;
}

/* ---- the scripted daemon ------------------------------------------------------------------------------------ */

/* What fits of it into `request`; the rest of a long body is read and forgotten. At most `most` bytes. */
static ssize_t read_request(int fd, char *request, size_t size, size_t most) {
  static char rest[1u << 16];
  size_t n = 0, want = SIZE_MAX;
  while (n < want && n < most) {
    size_t room = n < size - 1 ? size - 1 - n : sizeof rest;
    ssize_t r = read(fd, n < size - 1 ? request + n : rest, room < most - n ? room : most - n);
    if (r <= 0)
      return -1;
    n += (size_t)r;
    if (n < size)
      request[n] = 0;
    char *end = strstr(request, "\r\n\r\n"), *length = strcasestr(request, "\r\nContent-Length: ");
    if (end)
      want = (size_t)(end + 4 - request) + (length && length < end ? strtoul(length + 18, NULL, 10) : 0);
  }
  return (ssize_t)(n < size - 1 ? n : size - 1);
}

static void put(int fd, const char *text, size_t n) {
  while (n) {
    ssize_t r = write(fd, text, n);
    if (r <= 0)
      return;
    text += r;
    n -= (size_t)r;
  }
}

static void answer(int fd, const struct step *s) {
  char head[512];
  bool problem = s->status >= 400;
  const char *type = s->hold   ? "text/event-stream"
                     : s->type ? s->type
                     : problem ? "application/problem+json"
                               : "application/json";
  int n = snprintf(head, sizeof head, "HTTP/1.1 %d X\r\nContent-Type: %s\r\n", s->status, type);
  if (s->etag)
    n += snprintf(head + n, sizeof head - (size_t)n, "ETag: \"%s\"\r\n", s->etag);
  size_t body = s->body_n ? s->body_n : s->body ? strlen(s->body) : 0;
  if (s->hold)
    n += snprintf(head + n, sizeof head - (size_t)n, "Transfer-Encoding: chunked\r\n\r\n%zx\r\n", body);
  else
    n += snprintf(head + n, sizeof head - (size_t)n, "Content-Length: %zu\r\n\r\n", body);
  put(fd, head, (size_t)n);
  put(fd, s->body, body);
  put(fd, "\r\n", s->hold ? 2 : 0);
}

static void play(int listener, const struct step *steps, size_t n) {
  char *request = malloc(1u << 20), size[32];
  int held = -1, log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  signal(SIGPIPE, SIG_IGN);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  alarm(30);
  for (size_t i = 0; i < n; i++) {
    const struct step *s = &steps[i];
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ssize_t got = read_request(fd, request, 1u << 20, s->gone ? s->gone : SIZE_MAX);
    if (got < 0 || strncmp(request, s->expect, strlen(s->expect)) != 0) {
      dprintf(log, "UNEXPECTED (step %zu, %s): %s\n", i, s->expect, got < 0 ? "" : request);
      _exit(1);
    }
    put(log, request, (size_t)got);
    put(log, "\n\n", 2);
    if (s->status)
      answer(fd, s);
    if (s->gone && s->interrupt) { /* while the client still sends */
      kill(getppid(), SIGINT);
      poll(NULL, 0, s->pause_ms);
    }
    if (s->hold)
      held = fd;
    else
      close(fd);
    if (s->push) {
      put(held, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", strlen(s->push)));
      put(held, s->push, strlen(s->push));
      put(held, "\r\n", 2);
    }
    if (s->drop)
      fd_finish(&held);
    if (s->interrupt && s->pause_ms)
      poll(NULL, 0, s->pause_ms);
    if (s->interrupt && !s->gone)
      kill(getppid(), SIGINT);
  }
  struct pollfd extra = {.fd = listener, .events = POLLIN}; /* nothing more is expected */
  _exit(poll(&extra, 1, 0) > 0 ? 2 : 0);
}

pid_t script(const struct step *steps, size_t n) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  unlink(socket_path);
  str_copy(address.sun_path, sizeof address.sun_path, socket_path);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(listen(fd, 16), 0);
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0)
    play(fd, steps, n);
  close(fd);
  return pid;
}

/* Waits for the script's end; the log of what was asked, the caller's. */
char *played(pid_t pid) {
  int status;
  waitpid(pid, &status, 0);
  char *log = read_file(log_path);
  if (!WIFEXITED(status) || WEXITSTATUS(status))
    fail_msg("the script ended with %d: %s", status, log);
  return log;
}
