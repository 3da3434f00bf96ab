/*
 * sim: a program under test, on a mocked machine with simulated instruments.
 *
 * One thread, one poll loop: the child, the instruments, the control socket. Only umockdev has a thread of its own, for
 * ioctls.
 */
#include "carrier.h"
#include "engine.h"
#include "option.h"
#include "serial_bed.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define EXIT_SKIP 77
#define INSTRUMENTS_MAX 16u
#define BUSES_MAX 4u
#define CLIENTS_MAX 8
#define LINE_MAX_LEN 512u
#define FAULTS_MAX 16u
#define STREAM_MAX (256u << 20)
#define KILL_AFTER_US 10000000u /* a child that ignores SIGTERM this long is killed */
#define NEVER CARRIER_NEVER

/* An instrument as the command line has it. */
struct spec {
  const struct sim_engine *engine;
  char options[2048]; /* the engine's own */
  char serial[OPTION_VALUE_MAX], port[OPTION_VALUE_MAX], speed[OPTION_VALUE_MAX], stream[OPTION_VALUE_MAX];
  bool has_serial; /* an adapter may have an empty one */
  char faults[FAULTS_MAX][OPTION_VALUE_MAX];
  unsigned fault_count;
  bool unplugged;
};

struct settings {
  struct spec specs[INSTRUMENTS_MAX];
  unsigned count;
  const char *control, *preload, *speed;
  bool generate;
  uint64_t generate_us;
  char **command;
};

struct client {
  int fd;
  char line[LINE_MAX_LEN];
  size_t len;
};

struct program {
  const struct settings *settings;
  UMockdevTestbed *machine;
  void *buses[BUSES_MAX]; /* in the order of sim_carriers */
  struct sim_instrument instruments[INSTRUMENTS_MAX];
  uint8_t *streams[INSTRUMENTS_MAX];
  unsigned count;

  int listen_fd, signal_fd;
  struct client clients[CLIENTS_MAX];
  pid_t child;
  int child_status;
  uint64_t kill_us;
};

static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void complain(const char *format, ...) {
  va_list args;
  va_start(args, format);
  fputs("sim: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
}

uint64_t sim_now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* What the clock on the wall showed when sim_now_us() was 0: see sim_engine.create. */
static int64_t local_us_at_zero(void) {
  struct timespec t;
  struct tm local;
  clock_gettime(CLOCK_REALTIME, &t);
  localtime_r(&t.tv_sec, &local);
  return (t.tv_sec + local.tm_gmtoff) * 1000000 + t.tv_nsec / 1000 - (int64_t)sim_now_us();
}

/* ---- options ---- */

static void print_help(void) {
  printf(
      "sim [options] --instrument NAME[,KEY=VALUE...]... -- CMD ARGS...\n"
      "    runs CMD on a machine that has these simulated instruments\n"
      "sim --generate SECONDS --instrument NAME[,KEY=VALUE...]\n"
      "    writes what the instrument sends in that time to standard output\n"
      "\n"
      "The first form runs under umockdev-wrapper, and exits with CMD's status (128 + signal; 77 without umockdev).\n"
      "\n"
      "  --speed N|max    of every instrument that has no speed of its own (1)\n"
      "  --control PATH   Unix socket for commands, one a line: fault NAME[:ARG], unplug, replug,\n"
      "                   unplug-after BYTES, stats, reset, and the instrument's own. With several instruments the\n"
      "                   name comes first (\"emi12 unplug\"), for the second of a kind with #2 (\"emi12#2 unplug\")\n"
      "  --preload LIBRARY  before all others in CMD's LD_PRELOAD (a sanitizer's run-time)\n"
      "  --help\n"
      "\nKeys of every instrument:\n"
      "  serial=TEXT      USB serial number (SIM00001 for the first, SIM00002 ...)\n"
      "  port=NAME        of a serial one: ttyUSBn or ttyACMn (ttyUSB0 for the first, ttyUSB1 ...)\n"
      "  plugged=yes|no   at the start (yes)\n"
      "  speed=N|max      times real time; max: as fast as CMD reads\n"
      "  fault=NAME[:ARG] may be repeated\n");
  for (const struct sim_engine *const *e = sim_engines; *e; e++)
    printf("\n%s: %s", (*e)->name, (*e)->help);
}

static const struct sim_engine *find_engine(const char *name, size_t len) {
  for (const struct sim_engine *const *e = sim_engines; *e; e++)
    if (strlen((*e)->name) == len && memcmp((*e)->name, name, len) == 0)
      return *e;
  return NULL;
}

static bool add_option(struct spec *spec, const char *key, const char *value) {
  size_t len = strlen(spec->options), room = sizeof(spec->options) - len;
  int n = snprintf(spec->options + len, room, "%s%s=%s", len ? "," : "", key, value);
  return n >= 0 && (size_t)n < room;
}

/* 0, or -1 having said what is wrong. */
static int take_key(struct spec *spec, const struct option *option) {
  const char *key = option->key, *value = option->value;
  unsigned speed;
  if (strcmp(key, "serial") == 0) {
    strcpy(spec->serial, value);
    spec->has_serial = true;
  } else if (strcmp(key, "port") == 0) {
    strcpy(spec->port, strncmp(value, "/dev/", 5) == 0 ? value + 5 : value);
  } else if (strcmp(key, "stream") == 0) {
    strcpy(spec->stream, value);
  } else if (strcmp(key, "speed") == 0) {
    if (!option_speed(value, &speed)) {
      complain("speed: 1 to 10000, or max");
      return -1;
    }
    strcpy(spec->speed, value);
  } else if (strcmp(key, "plugged") == 0) {
    if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0) {
      complain("plugged: yes or no");
      return -1;
    }
    spec->unplugged = strcmp(value, "no") == 0;
  } else if (strcmp(key, "fault") == 0) {
    if (spec->fault_count == FAULTS_MAX) {
      complain("too many faults");
      return -1;
    }
    strcpy(spec->faults[spec->fault_count++], value);
  } else if (!add_option(spec, key, value)) {
    complain("too many options");
    return -1;
  }
  return 0;
}

static int parse_instrument(struct settings *s, const char *text) {
  struct option option;
  size_t len = strcspn(text, ",");
  if (s->count == INSTRUMENTS_MAX) {
    complain("too many instruments");
    return -1;
  }
  struct spec *spec = &s->specs[s->count++];
  spec->engine = find_engine(text, len);
  if (!spec->engine) {
    complain("no instrument '%s' (--help lists them)", text);
    return -1;
  }
  text += len + (text[len] == ',');
  int r;
  while ((r = option_next(&text, &option)) > 0)
    if (take_key(spec, &option) < 0)
      return -1;
  if (r < 0)
    complain("'%s' is not key=value", text);
  return r;
}

/* 0, or -1 having said what is wrong. */
static int parse_option(struct settings *s, const char *name, const char *value) {
  unsigned speed;
  if (strcmp(name, "--instrument") == 0)
    return parse_instrument(s, value);
  if (strcmp(name, "--speed") == 0) {
    if (!option_speed(value, &speed)) {
      complain("%s: 1 to 10000, or max", name);
      return -1;
    }
    s->speed = value;
  } else if (strcmp(name, "--control") == 0) {
    s->control = value;
  } else if (strcmp(name, "--preload") == 0) {
    s->preload = value;
  } else if (strcmp(name, "--generate") == 0) {
    s->generate = true;
    if (!option_seconds(value, &s->generate_us)) {
      complain("%s: bad number of seconds '%s'", name, value);
      return -1;
    }
  } else {
    complain("unknown option '%s' (--help lists them)", name);
    return -1;
  }
  return 0;
}

/* 1: fine, 0: asked for help, -1: wrong. */
static int parse_settings(int argc, char **argv, struct settings *s) {
  int i = 1;
  while (i < argc && strcmp(argv[i], "--") != 0) {
    if (strcmp(argv[i], "--help") == 0) {
      print_help();
      return 0;
    }
    if (i + 1 >= argc) {
      complain("'%s' needs a value (--help)", argv[i]);
      return -1;
    }
    if (parse_option(s, argv[i], argv[i + 1]) < 0)
      return -1;
    i += 2;
  }
  if (i < argc && argv[i + 1])
    s->command = argv + i + 1;
  if (s->count == 0 || (s->generate && s->count > 1)) {
    complain("%s (--help)", s->count ? "one instrument at a time" : "no --instrument");
    return -1;
  }
  if (!s->command && !s->generate) {
    complain("no command after -- (--help)");
    return -1;
  }
  return 1;
}

static uint8_t *read_stream(const char *path, size_t *ret_len) {
  FILE *file = fopen(path, "rbe");
  uint8_t *bytes = NULL;
  struct stat st;
  if (file && fstat(fileno(file), &st) == 0 && st.st_size > 0 && st.st_size <= STREAM_MAX) {
    size_t len = (size_t)st.st_size;
    bytes = malloc(len);
    if (bytes && fread(bytes, 1, len, file) != len) {
      free(bytes);
      bytes = NULL;
    }
    *ret_len = len;
  }
  if (!bytes)
    complain("%s: cannot read it, empty or too long", path);
  if (file)
    fclose(file);
  return bytes;
}

/* ---- instruments ---- */

/* 0, or -1 having said what is wrong; *ret_stream is to be freed after the engine. */
static int make_engine(const struct settings *settings, unsigned number, struct sim_instrument *in,
                       uint8_t **ret_stream) {
  struct spec spec = settings->specs[number];
  const char *speed = *spec.speed ? spec.speed : settings->speed ? settings->speed : "1";
  char why[256] = "";
  if (settings->generate)
    speed = "1"; /* its time is that of the file */
  in->engine = spec.engine;
  in->unpaced = strcmp(speed, "max") == 0;
  in->unplug_at = NEVER;
  in->sim = add_option(&spec, "speed", speed) ? spec.engine->create(spec.options, local_us_at_zero(), why) : NULL;
  if (!in->sim) {
    complain("%s: %s", spec.engine->name, why);
    return -1;
  }
  if (*spec.stream) {
    size_t len;
    *ret_stream = read_stream(spec.stream, &len);
    if (!*ret_stream)
      return -1;
    if (!spec.engine->replay || spec.engine->replay(in->sim, *ret_stream, len) < 0) {
      complain("%s: plays no stream", spec.engine->name);
      return -1;
    }
  }
  for (unsigned f = 0; f < spec.fault_count; f++) {
    if (spec.engine->fault(in->sim, spec.faults[f]) < 0) {
      complain("%s: unknown fault or bad argument '%s' (--help lists them)", spec.engine->name, spec.faults[f]);
      return -1;
    }
  }
  return 0;
}

static int make_engines(struct program *p) {
  int r = 0;
  for (p->count = 0; r == 0 && p->count < p->settings->count; p->count++)
    r = make_engine(p->settings, p->count, &p->instruments[p->count], &p->streams[p->count]);
  return r;
}

static void end_engines(struct program *p) {
  for (unsigned i = 0; i < p->count; i++) {
    p->instruments[i].engine->destroy(p->instruments[i].sim);
    free(p->streams[i]);
  }
}

static int place(struct program *p, unsigned number) {
  struct sim_instrument *in = &p->instruments[number];
  const struct spec *spec = &p->settings->specs[number];
  const struct sim_place where = {.serial = spec->has_serial ? spec->serial : NULL,
                                  .port = *spec->port ? spec->port : NULL};
  unsigned bus = 0;
  while (sim_carriers[bus] && sim_carriers[bus]->bus != in->engine->bus)
    bus++;
  if (!sim_carriers[bus])
    return -ENOTSUP;
  if (!p->buses[bus])
    p->buses[bus] = sim_carriers[bus]->bus_create(p->machine);
  if (!p->buses[bus])
    return -errno;
  in->carrier = sim_carriers[bus];
  int r = in->carrier->add(p->buses[bus], in, &where, number);
  return r < 0 || spec->unplugged ? r : in->carrier->plug(in);
}

/* 0, or -1 having said what is wrong. */
static int place_all(struct program *p) {
  for (unsigned i = 0; i < p->count; i++) {
    int r = place(p, i);
    if (r < 0) {
      complain("%s: cannot connect it: %s", p->instruments[i].engine->name, strerror(-r));
      return -1;
    }
  }
  return 0;
}

static void remove_all(struct program *p) {
  for (unsigned i = 0; i < p->count; i++)
    if (p->instruments[i].carrier)
      p->instruments[i].carrier->remove(&p->instruments[i]);
  for (unsigned bus = 0; sim_carriers[bus]; bus++)
    sim_carriers[bus]->bus_destroy(p->buses[bus]);
}

/* The instrument that a command is for: "emi12#2 stats" is for the second EMI12. Takes the name off *line. */
static struct sim_instrument *find_instrument(struct program *p, const char **line) {
  size_t word = strcspn(*line, " "), name = strcspn(*line, "# ");
  uint64_t number = 1;
  const struct sim_engine *engine = find_engine(*line, name);
  if (!engine)
    return p->count == 1 ? &p->instruments[0] : NULL;
  if (name < word) {
    char digits[8] = "";
    if (word - name > sizeof(digits))
      return NULL;
    memcpy(digits, *line + name + 1, word - name - 1);
    if (!option_number(digits, INSTRUMENTS_MAX, &number))
      return NULL;
  }
  for (unsigned i = 0; i < p->count; i++) {
    if (p->instruments[i].engine == engine && --number == 0) {
      *line += word + ((*line)[word] == ' ');
      return &p->instruments[i];
    }
  }
  return NULL;
}

/* ---- --generate ---- */

static int generate(const struct sim_instrument *in, uint64_t until_us) {
  char answer[256];
  uint8_t buf[4096];
  size_t n;
  if (in->engine->command(in->sim, 0, "start", answer) < 0) {
    complain("%s: %s", in->engine->name, answer);
    return EXIT_USAGE;
  }
  /* Its answer to the start is all there is at time 0; a session's file holds what comes after. */
  while (in->engine->transmit(in->sim, 0, buf, sizeof(buf)) > 0)
    ;
  while ((n = in->engine->transmit(in->sim, until_us, buf, sizeof(buf))) > 0)
    if (fwrite(buf, 1, n, stdout) != n)
      break;
  if (fflush(stdout) != 0 || ferror(stdout)) {
    complain("standard output: %m");
    return 1;
  }
  return 0;
}

/* ---- control socket ---- */

static int open_control(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  struct stat st;
  if (strlen(path) >= sizeof(address.sun_path)) {
    errno = ENAMETOOLONG;
    return -1;
  }
  strcpy(address.sun_path, path);
  if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
    unlink(path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    return -1;
  if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, CLIENTS_MAX) < 0) {
    close(fd);
    return -1;
  }
  return fd;
}

static void answer_stats(const struct sim_instrument *in, char *answer, size_t size) {
  int n = snprintf(answer, size, "ok plugged=%d open=%d bytes_out=%llu sent=%llu ", in->carrier->plugged(in), in->open,
                   (unsigned long long)in->sent_total, (unsigned long long)in->sent);
  if (n > 0 && (size_t)n < size)
    in->engine->stats(in->sim, answer + n, size - (size_t)n);
}

static void obey(struct program *p, const char *line, char *answer, size_t size) {
  uint64_t n;
  int r;
  char said[256] = "";
  struct sim_instrument *in = find_instrument(p, &line);
  snprintf(answer, size, "ok");
  if (!in) {
    snprintf(answer, size, "error which instrument?");
  } else if (strncmp(line, "fault ", 6) == 0) {
    if (in->engine->fault(in->sim, line + 6) < 0)
      snprintf(answer, size, "error bad fault");
  } else if (strcmp(line, "unplug") == 0) {
    if (in->carrier->unplug(in) < 0)
      snprintf(answer, size, "error not plugged");
  } else if (strcmp(line, "replug") == 0) {
    r = in->carrier->plug(in);
    if (r < 0)
      snprintf(answer, size, "error %s", r == -EALREADY ? "plugged" : strerror(-r));
  } else if (strncmp(line, "unplug-after ", 13) == 0) {
    if (!option_number(line + 13, LONG_MAX, &n))
      snprintf(answer, size, "error bad number");
    else
      in->unplug_at = n;
  } else if (strcmp(line, "stats") == 0) {
    answer_stats(in, answer, size);
  } else if (strcmp(line, "reset") == 0) {
    in->unplug_at = NEVER;
    in->engine->fault(in->sim, "none");
    in->engine->power_on(in->sim, sim_now_us());
    in->carrier->forget(in);
  } else {
    r = in->engine->command(in->sim, sim_now_us(), line, said);
    snprintf(answer, size, "%s%s%s", r < 0 ? "error" : "ok", *said ? " " : "", said);
  }
}

static void drop_client(struct client *client) {
  close(client->fd);
  client->fd = -1;
}

static void serve_client(struct program *p, struct client *client) {
  ssize_t n = recv(client->fd, client->line + client->len, sizeof(client->line) - client->len, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  if (n <= 0) {
    drop_client(client);
    return;
  }
  client->len += (size_t)n;
  char *end;
  while ((end = memchr(client->line, '\n', client->len))) {
    char answer[512];
    *end = '\0';
    if (end > client->line && end[-1] == '\r')
      end[-1] = '\0';
    obey(p, client->line, answer, sizeof(answer) - 1);
    strcat(answer, "\n");
    /* A client that does not read its answers is not waited for. */
    if (send(client->fd, answer, strlen(answer), MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)strlen(answer)) {
      drop_client(client);
      return;
    }
    size_t used = (size_t)(end - client->line) + 1;
    memmove(client->line, end + 1, client->len - used);
    client->len -= used;
  }
  if (client->len == sizeof(client->line))
    drop_client(client);
}

static void accept_client(struct program *p) {
  int fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0)
    return;
  for (unsigned i = 0; i < CLIENTS_MAX; i++) {
    if (p->clients[i].fd < 0) {
      p->clients[i].fd = fd;
      p->clients[i].len = 0;
      return;
    }
  }
  close(fd);
}

/* ---- the child ---- */

static int spawn(struct program *p, const sigset_t *mask) {
  char *preload = serial_bed_preload(p->settings->preload);
  char *old = getenv("LD_PRELOAD");
  char *own = old ? strdup(old) : NULL;
  if (!preload || (old && !own) || setenv("LD_PRELOAD", preload, 1) < 0) {
    free(preload);
    free(own);
    return -ENOMEM;
  }
  pid_t parent = getpid();
  p->child = fork();
  if (p->child == 0) {
    sigprocmask(SIG_SETMASK, mask, NULL);
    /* Not to be left alone with a bed that nobody serves. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == parent)
      execvp(p->settings->command[0], p->settings->command);
    complain("%s: %m", p->settings->command[0]);
    _exit(127);
  }
  int r = p->child < 0 ? -errno : 0;
  if (own)
    setenv("LD_PRELOAD", own, 1);
  free(own);
  free(preload);
  return r;
}

static void hear_signals(struct program *p) {
  struct signalfd_siginfo info;
  while (read(p->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
    if (info.ssi_signo == SIGCHLD) {
      int status;
      if (waitpid(p->child, &status, WNOHANG) == p->child) {
        p->child = 0;
        p->child_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      }
    } else if (p->child > 0) {
      kill(p->child, (int)info.ssi_signo);
      if (p->kill_us == NEVER)
        p->kill_us = sim_now_us() + KILL_AFTER_US;
    }
  }
}

/* ---- loop ---- */

enum { SLOT_SIGNAL, SLOT_LISTEN, SLOT_CLIENTS, SLOT_INSTRUMENTS = SLOT_CLIENTS + CLIENTS_MAX };
enum { SLOT_COUNT = SLOT_INSTRUMENTS + INSTRUMENTS_MAX * CARRIER_FDS };

static uint64_t next_wake_us(const struct program *p) {
  uint64_t next = p->kill_us;
  for (unsigned i = 0; i < p->count; i++) {
    uint64_t due = p->instruments[i].carrier->next_us(&p->instruments[i]);
    next = due < next ? due : next;
  }
  return next;
}

static void wait_for_something(struct program *p, struct pollfd fds[SLOT_COUNT]) {
  for (unsigned i = 0; i < SLOT_COUNT; i++)
    fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
  fds[SLOT_SIGNAL].fd = p->signal_fd;
  fds[SLOT_LISTEN].fd = p->listen_fd;
  for (unsigned i = 0; i < CLIENTS_MAX; i++)
    fds[SLOT_CLIENTS + i].fd = p->clients[i].fd;
  for (unsigned i = 0; i < p->count; i++)
    p->instruments[i].carrier->watch(&p->instruments[i], fds + SLOT_INSTRUMENTS + i * CARRIER_FDS);

  struct timespec timeout, *wait = NULL;
  uint64_t next = next_wake_us(p), now = sim_now_us();
  if (next != NEVER) {
    uint64_t us = next > now ? next - now : 0;
    timeout = (struct timespec){.tv_sec = (time_t)(us / 1000000u), .tv_nsec = (long)(us % 1000000u) * 1000};
    wait = &timeout;
  }
  if (ppoll(fds, SLOT_COUNT, wait, NULL) < 0)
    for (unsigned i = 0; i < SLOT_COUNT; i++)
      fds[i].revents = 0;
}

static void loop(struct program *p) {
  struct pollfd fds[SLOT_COUNT];
  while (p->child > 0) {
    wait_for_something(p, fds);
    if (fds[SLOT_SIGNAL].revents)
      hear_signals(p);
    for (unsigned i = 0; i < p->count; i++)
      p->instruments[i].carrier->hear(&p->instruments[i], fds + SLOT_INSTRUMENTS + i * CARRIER_FDS);
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
      if (p->clients[i].fd >= 0 && fds[SLOT_CLIENTS + i].revents)
        serve_client(p, &p->clients[i]);
    if (fds[SLOT_LISTEN].revents)
      accept_client(p);
    for (unsigned i = 0; i < p->count; i++)
      p->instruments[i].carrier->speak(&p->instruments[i]);
    if (p->kill_us <= sim_now_us() && p->child > 0) {
      kill(p->child, SIGKILL);
      p->kill_us = NEVER;
    }
  }
}

static int run(struct program *p) {
  const struct settings *settings = p->settings;
  int status = 1, r;

  /* Blocked before umockdev starts its thread, so that the signals come to the descriptor and nowhere else. */
  sigset_t signals, old;
  sigemptyset(&signals);
  sigaddset(&signals, SIGCHLD);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, &old);
  p->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
  p->machine = umockdev_testbed_new();

  if (p->signal_fd < 0) {
    complain("cannot hear signals: %m");
  } else if (place_all(p) < 0) {
    status = 1;
  } else if (settings->control && (p->listen_fd = open_control(settings->control)) < 0) {
    complain("%s: %m", settings->control);
  } else if ((r = spawn(p, &old)) < 0) {
    complain("cannot start a child: %s", strerror(-r));
  } else {
    loop(p);
    status = p->child_status;
  }

  for (unsigned i = 0; i < CLIENTS_MAX; i++)
    if (p->clients[i].fd >= 0)
      drop_client(&p->clients[i]);
  if (p->listen_fd >= 0) {
    close(p->listen_fd);
    unlink(settings->control);
  }
  remove_all(p);
  g_object_unref(p->machine);
  if (p->signal_fd >= 0)
    close(p->signal_fd);
  return status;
}

int main(int argc, char **argv) {
  static struct settings settings;
  static struct program program = {.settings = &settings, .kill_us = NEVER, .listen_fd = -1};
  serial_bed_without_sanitizer(argv);
  for (unsigned i = 0; i < CLIENTS_MAX; i++)
    program.clients[i].fd = -1;
  int r = parse_settings(argc, argv, &settings);
  if (r <= 0)
    return r == 0 ? 0 : EXIT_USAGE;
  if (!settings.generate && !serial_bed_available()) {
    complain("umockdev is not preloaded: start me as umockdev-wrapper sim ...");
    return EXIT_SKIP;
  }
  int status = EXIT_USAGE;
  if (make_engines(&program) == 0)
    status = settings.generate ? generate(&program.instruments[0], settings.generate_us) : run(&program);
  end_engines(&program);
  return status;
}
