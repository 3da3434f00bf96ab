/*
 * emi12-sim: a program under test, on a mocked machine with an EMI12 module on a USB serial adapter.
 *
 * One thread, one poll loop: the child, the port, the control socket. Only umockdev has a thread of its own, for
 * ioctls.
 */
#include "emi12.h"
#include "serial_bed.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
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
#define CLIENTS_MAX 8
#define LINE_MAX_LEN 256u
#define FAULTS_MAX 32
#define STREAM_MAX (256u << 20)
#define DRAIN_MS 2000
#define KILL_AFTER_US 10000000u /* a child that ignores SIGTERM this long is killed */
#define NEVER UINT64_MAX

struct settings {
  struct emi12_sim_options module;
  struct serial_bed_options port;
  const char *stream_file, *control, *preload;
  const char *faults[FAULTS_MAX];
  unsigned fault_count;
  bool plugged, generate;
  uint64_t generate_us;
  char **command;
};

struct client {
  int fd;
  char line[LINE_MAX_LEN];
  size_t len;
};

struct bench {
  const struct settings *settings;
  struct emi12_sim *sim;
  struct serial_bed *bed;
  struct serial_bed_port *port;
  bool open;

  uint8_t out[4096]; /* taken from the module, not yet taken by the terminal */
  size_t out_pos, out_len;
  uint64_t sent;       /* bytes since the port was opened */
  uint64_t unplug_at;  /* of sent; NEVER when not asked for */
  uint64_t sent_total; /* bytes the terminal took, all sessions */

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
  fputs("emi12-sim: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
}

static uint64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* ---- options ---- */

static void print_help(void) {
  printf(
      "emi12-sim [options] -- CMD ARGS...     run CMD beside a simulated EMI12 ECG module\n"
      "emi12-sim --generate SECONDS [options] write the bytes of a session to standard output\n"
      "\n"
      "The first form runs under umockdev-wrapper, and exits with CMD's status (128 + signal; 77 without umockdev).\n"
      "\n"
      "  --stream FILE       replay these received bytes after each start, instead of a synthetic ECG\n"
      "  --speed N|max       times real time (1); max: as fast as CMD reads\n"
      "  --seed N            of the noise (0)\n"
      "  --heart-rate N      beats per minute, 20 to 300 (72)\n"
      "  --gain PERCENT      of the synthetic ECG (100); 4000 clips\n"
      "  --rate HZ           rate at power-on, 100, 200, 500 or 1000 (500)\n"
      "  --leads 3|12        lead set at power-on (12)\n"
      "  --packet N          first packet number (0)\n"
      "  --block N           first block counter (0)\n"
      "  --dataset N         the dataset counter starts from here (0)\n"
      "  --fault NAME[:ARG]  may be repeated\n"
      "  --serial STRING     USB serial number (SIM00001)\n"
      "  --port NAME         ttyUSBn or ttyACMn (ttyUSB0)\n"
      "  --plugged yes|no    at the start (yes)\n"
      "  --control PATH      Unix socket for commands, one a line: fault NAME[:ARG], unplug, replug,\n"
      "                      unplug-after BYTES, stats, reset\n"
      "  --preload LIBRARY   before all others in CMD's LD_PRELOAD (a sanitizer's run-time)\n"
      "  --help\n"
      "\nfaults:");
  for (unsigned f = 0; f < EMI12_FAULT_COUNT; f++)
    printf(" %s", emi12_fault_name((enum emi12_fault)f));
  printf("\n");
}

static bool parse_number(const char *text, unsigned long max, unsigned long *ret) {
  char *end;
  if (text[0] < '0' || text[0] > '9')
    return false;
  errno = 0;
  *ret = strtoul(text, &end, 0);
  return errno == 0 && !*end && *ret <= max;
}

/* "21.09" to microseconds, without floating point and its locale. */
static bool parse_seconds(const char *text, uint64_t *ret_us) {
  uint64_t us = 0, unit = 1000000;
  bool digits = false, point = false;
  for (; *text; text++) {
    if (*text == '.' && !point) {
      point = true;
      continue;
    }
    if (*text < '0' || *text > '9')
      return false;
    digits = true;
    if (!point) {
      us = us * 10 + (uint64_t)(*text - '0') * 1000000u;
      if (us > 1000000ull * 1000000u)
        return false;
    } else if (unit > 1) {
      unit /= 10;
      us += (uint64_t)(*text - '0') * unit;
    }
  }
  *ret_us = us;
  return digits;
}

static bool set_number(const char *name, const char *value, unsigned long max, unsigned long *ret) {
  if (parse_number(value, max, ret))
    return true;
  complain("%s: bad number '%s'", name, value);
  return false;
}

/* 0, or -1 having said what is wrong. */
static int parse_option(struct settings *s, const char *name, const char *value) {
  unsigned long n = 0;
  if (strcmp(name, "--stream") == 0) {
    s->stream_file = value;
  } else if (strcmp(name, "--speed") == 0) {
    if (strcmp(value, "max") != 0 && (!set_number(name, value, 10000, &n) || n == 0))
      return -1;
    emi12_sim_options_speed(&s->module, (unsigned)n);
  } else if (strcmp(name, "--seed") == 0) {
    if (!set_number(name, value, ULONG_MAX, &n))
      return -1;
    s->module.seed = n;
  } else if (strcmp(name, "--heart-rate") == 0) {
    if (!set_number(name, value, 300, &n))
      return -1;
    s->module.heart_rate = (unsigned)n;
  } else if (strcmp(name, "--gain") == 0) {
    if (!set_number(name, value, 10000, &n))
      return -1;
    s->module.gain_percent = (unsigned)n;
  } else if (strcmp(name, "--rate") == 0) {
    if (!set_number(name, value, 1000, &n))
      return -1;
    s->module.rate_hz = (unsigned)n;
  } else if (strcmp(name, "--leads") == 0) {
    if (!set_number(name, value, 12, &n))
      return -1;
    s->module.leads = (unsigned)n;
  } else if (strcmp(name, "--packet") == 0) {
    if (!set_number(name, value, 0xFF, &n))
      return -1;
    s->module.packet_number = (uint8_t)n;
  } else if (strcmp(name, "--block") == 0) {
    if (!set_number(name, value, 0xFFFF, &n))
      return -1;
    s->module.block_counter = (uint16_t)n;
  } else if (strcmp(name, "--dataset") == 0) {
    if (!set_number(name, value, EMI12_SIM_COUNTER_MASK, &n))
      return -1;
    s->module.dataset_counter = (uint32_t)n;
  } else if (strcmp(name, "--fault") == 0) {
    if (s->fault_count == FAULTS_MAX) {
      complain("too many faults");
      return -1;
    }
    s->faults[s->fault_count++] = value;
  } else if (strcmp(name, "--serial") == 0) {
    s->port.serial = value;
  } else if (strcmp(name, "--port") == 0) {
    s->port.port = strncmp(value, "/dev/", 5) == 0 ? value + 5 : value;
  } else if (strcmp(name, "--plugged") == 0) {
    if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0) {
      complain("%s: yes or no", name);
      return -1;
    }
    s->plugged = strcmp(value, "yes") == 0;
  } else if (strcmp(name, "--control") == 0) {
    s->control = value;
  } else if (strcmp(name, "--preload") == 0) {
    s->preload = value;
  } else if (strcmp(name, "--generate") == 0) {
    s->generate = true;
    if (!parse_seconds(value, &s->generate_us)) {
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
  s->plugged = true;
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

/* ---- --generate ---- */

static int generate(struct emi12_sim *sim, uint64_t until_us) {
  static const uint8_t start[] = {0xFC, 0x00, 0x05, 0x09, 0x01, 0x89, 0xC5, 0xFD};
  uint8_t buf[4096];
  emi12_sim_receive(sim, 0, start, sizeof(start));
  /* The acknowledgement is all there is at time 0; a session's file holds ECG frames only. */
  while (emi12_sim_transmit(sim, 0, buf, sizeof(buf)) > 0)
    ;
  size_t n;
  while ((n = emi12_sim_transmit(sim, until_us, buf, sizeof(buf))) > 0)
    if (fwrite(buf, 1, n, stdout) != n)
      break;
  if (fflush(stdout) != 0 || ferror(stdout)) {
    complain("standard output: %m");
    return 1;
  }
  return 0;
}

/* ---- the port ---- */

static void forget_output(struct bench *b) {
  b->out_pos = b->out_len = 0;
  emi12_sim_line_closed(b->sim);
}

static void pull_plug(struct bench *b) {
  if (serial_bed_unplug(b->port) < 0)
    return;
  b->open = false;
  b->unplug_at = NEVER;
  forget_output(b);
  emi12_sim_power_on(b->sim); /* the cable feeds the module: it will start afresh, its faults stay */
}

static int put_plug(struct bench *b) {
  int r = serial_bed_plug(b->port);
  if (r == 0) {
    b->open = false;
    b->sent = 0;
  }
  return r;
}

static void read_port(struct bench *b) {
  uint8_t in[1024];
  ssize_t n;
  for (int round = 0; round < 16 && (n = read(serial_bed_fd(b->port), in, sizeof(in))) > 0; round++)
    emi12_sim_receive(b->sim, now_us(), in, (size_t)n);
}

static void look_at_port(struct bench *b) {
  if (serial_bed_fd(b->port) < 0)
    return;
  unsigned state = serial_bed_look(b->port);
  bool open = state & SERIAL_BED_OPEN;
  if (state & SERIAL_BED_CLOSED || (b->open && !open))
    forget_output(b);
  if (open && (!b->open || state & SERIAL_BED_CLOSED))
    b->sent = 0;
  /* What a user wrote before he closed still reaches the module; if nobody came after him, its answer reaches nobody.
   */
  read_port(b);
  if (!open)
    forget_output(b);
  b->open = open;
}

static void write_port(struct bench *b) {
  for (int round = 0; b->open && round < 64; round++) {
    if (b->sent >= b->unplug_at) {
      /* The user gets to read them all, so that a test may cut at every byte; a hang-up would discard them. */
      serial_bed_drain(b->port, DRAIN_MS);
      pull_plug(b);
      return;
    }
    if (b->out_pos == b->out_len) {
      b->out_pos = 0;
      b->out_len = emi12_sim_transmit(b->sim, now_us(), b->out, sizeof(b->out));
      if (b->out_len == 0)
        return;
    }
    size_t part = b->out_len - b->out_pos;
    if (part > b->unplug_at - b->sent)
      part = (size_t)(b->unplug_at - b->sent);
    ssize_t n = write(serial_bed_fd(b->port), b->out + b->out_pos, part);
    if (n <= 0)
      return;
    b->out_pos += (size_t)n;
    b->sent += (uint64_t)n;
    b->sent_total += (uint64_t)n;
    if (b->settings->module.unpaced)
      return; /* there is always more: let requests in between */
  }
}

/* Nobody listens, and the module does not know. Unpaced it has no time in which to go on, so it waits. */
static void run_unheard(struct bench *b) {
  uint8_t lost[4096];
  if (b->open || serial_bed_fd(b->port) < 0 || b->settings->module.unpaced)
    return;
  while (emi12_sim_transmit(b->sim, now_us(), lost, sizeof(lost)) > 0)
    ;
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

static void answer_stats(struct bench *b, char *answer, size_t size) {
  struct emi12_sim_stats stats;
  emi12_sim_get_stats(b->sim, &stats);
  snprintf(answer, size,
           "ok plugged=%d open=%d streaming=%d bytes_in=%llu bytes_out=%llu sent=%llu requests=%llu requests_bad=%llu "
           "frames_out=%llu ecg_frames=%llu ecg_sets=%llu",
           serial_bed_fd(b->port) >= 0, b->open, emi12_sim_streaming(b->sim), (unsigned long long)stats.bytes_in,
           (unsigned long long)b->sent_total, (unsigned long long)b->sent, (unsigned long long)stats.requests,
           (unsigned long long)stats.requests_bad, (unsigned long long)stats.frames_out,
           (unsigned long long)stats.ecg_frames, (unsigned long long)stats.ecg_sets);
}

static void obey(struct bench *b, const char *line, char *answer, size_t size) {
  unsigned long n;
  snprintf(answer, size, "ok");
  if (strncmp(line, "fault ", 6) == 0) {
    if (emi12_sim_fault_text(b->sim, line + 6) < 0)
      snprintf(answer, size, "error bad fault");
  } else if (strcmp(line, "unplug") == 0) {
    if (serial_bed_fd(b->port) < 0)
      snprintf(answer, size, "error not plugged");
    pull_plug(b);
  } else if (strcmp(line, "replug") == 0) {
    int r = put_plug(b);
    if (r < 0)
      snprintf(answer, size, "error %s", r == -EALREADY ? "plugged" : strerror(-r));
  } else if (strncmp(line, "unplug-after ", 13) == 0) {
    if (!parse_number(line + 13, LONG_MAX, &n))
      snprintf(answer, size, "error bad number");
    else
      b->unplug_at = n;
  } else if (strcmp(line, "stats") == 0) {
    answer_stats(b, answer, size);
  } else if (strcmp(line, "reset") == 0) {
    b->unplug_at = NEVER;
    emi12_sim_fault(b->sim, EMI12_FAULT_NONE, 0);
    emi12_sim_power_on(b->sim);
    b->out_pos = b->out_len = 0;
  } else {
    snprintf(answer, size, "error unknown command");
  }
}

static void drop_client(struct client *client) {
  close(client->fd);
  client->fd = -1;
}

static void serve_client(struct bench *b, struct client *client) {
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
    obey(b, client->line, answer, sizeof(answer) - 1);
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

static void accept_client(struct bench *b) {
  int fd = accept4(b->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0)
    return;
  for (unsigned i = 0; i < CLIENTS_MAX; i++) {
    if (b->clients[i].fd < 0) {
      b->clients[i].fd = fd;
      b->clients[i].len = 0;
      return;
    }
  }
  close(fd);
}

/* ---- the child ---- */

static int spawn(struct bench *b, const sigset_t *mask) {
  char *preload = serial_bed_preload(b->settings->preload);
  char *old = getenv("LD_PRELOAD");
  char *own = old ? strdup(old) : NULL;
  if (!preload || (old && !own) || setenv("LD_PRELOAD", preload, 1) < 0) {
    free(preload);
    free(own);
    return -ENOMEM;
  }
  pid_t parent = getpid();
  b->child = fork();
  if (b->child == 0) {
    sigprocmask(SIG_SETMASK, mask, NULL);
    /* Not to be left alone with a bed that nobody serves. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == parent)
      execvp(b->settings->command[0], b->settings->command);
    complain("%s: %m", b->settings->command[0]);
    _exit(127);
  }
  int r = b->child < 0 ? -errno : 0;
  if (own)
    setenv("LD_PRELOAD", own, 1);
  free(own);
  free(preload);
  return r;
}

static void hear_signals(struct bench *b) {
  struct signalfd_siginfo info;
  while (read(b->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
    if (info.ssi_signo == SIGCHLD) {
      int status;
      if (waitpid(b->child, &status, WNOHANG) == b->child) {
        b->child = 0;
        b->child_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      }
    } else if (b->child > 0) {
      kill(b->child, (int)info.ssi_signo);
      if (b->kill_us == NEVER)
        b->kill_us = now_us() + KILL_AFTER_US;
    }
  }
}

/* ---- loop ---- */

enum { SLOT_SIGNAL, SLOT_WATCH, SLOT_PORT, SLOT_LISTEN, SLOT_CLIENTS, SLOT_COUNT = SLOT_CLIENTS + CLIENTS_MAX };

static uint64_t next_wake_us(const struct bench *b) {
  uint64_t next = NEVER;
  bool powered = serial_bed_fd(b->port) >= 0;
  bool paused = !b->open && b->settings->module.unpaced;
  if (powered && !paused && b->out_pos == b->out_len)
    next = emi12_sim_next_us(b->sim);
  return b->kill_us < next ? b->kill_us : next;
}

static void wait_for_something(struct bench *b, struct pollfd fds[SLOT_COUNT]) {
  for (unsigned i = 0; i < SLOT_COUNT; i++)
    fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
  fds[SLOT_SIGNAL].fd = b->signal_fd;
  fds[SLOT_WATCH].fd = serial_bed_watch_fd(b->port);
  fds[SLOT_PORT].fd = b->open ? serial_bed_fd(b->port) : -1;
  if (b->out_pos < b->out_len)
    fds[SLOT_PORT].events |= POLLOUT;
  fds[SLOT_LISTEN].fd = b->listen_fd;
  for (unsigned i = 0; i < CLIENTS_MAX; i++)
    fds[SLOT_CLIENTS + i].fd = b->clients[i].fd;

  struct timespec timeout, *wait = NULL;
  uint64_t next = next_wake_us(b), now = now_us();
  if (next != NEVER) {
    uint64_t us = next > now ? next - now : 0;
    timeout = (struct timespec){.tv_sec = (time_t)(us / 1000000u), .tv_nsec = (long)(us % 1000000u) * 1000};
    wait = &timeout;
  }
  if (ppoll(fds, SLOT_COUNT, wait, NULL) < 0)
    for (unsigned i = 0; i < SLOT_COUNT; i++)
      fds[i].revents = 0;
}

static void loop(struct bench *b) {
  struct pollfd fds[SLOT_COUNT];
  while (b->child > 0) {
    wait_for_something(b, fds);
    if (fds[SLOT_SIGNAL].revents)
      hear_signals(b);
    if (fds[SLOT_WATCH].revents || (fds[SLOT_PORT].revents & (POLLHUP | POLLERR)))
      look_at_port(b);
    if (b->open && fds[SLOT_PORT].revents & POLLIN)
      read_port(b);
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
      if (b->clients[i].fd >= 0 && fds[SLOT_CLIENTS + i].revents)
        serve_client(b, &b->clients[i]);
    if (fds[SLOT_LISTEN].revents)
      accept_client(b);
    if (b->open)
      write_port(b);
    run_unheard(b);
    if (b->kill_us <= now_us() && b->child > 0) {
      kill(b->child, SIGKILL);
      b->kill_us = NEVER;
    }
  }
}

static int run(const struct settings *settings, struct emi12_sim *sim) {
  struct bench b = {.settings = settings, .sim = sim, .unplug_at = NEVER, .kill_us = NEVER, .listen_fd = -1};
  for (unsigned i = 0; i < CLIENTS_MAX; i++)
    b.clients[i].fd = -1;
  int status = 1, r;

  /* Blocked before umockdev starts its thread, so that the signals come to the descriptor and nowhere else. */
  sigset_t signals, old;
  sigemptyset(&signals);
  sigaddset(&signals, SIGCHLD);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, &old);
  b.signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);

  b.bed = serial_bed_create();
  if (!b.bed || b.signal_fd < 0) {
    complain("cannot set up the bed: %m");
  } else if ((r = serial_bed_add(b.bed, &settings->port, &b.port)) < 0 ||
             (settings->plugged && (r = put_plug(&b)) < 0)) {
    complain("cannot make the port: %s", strerror(-r));
  } else if (settings->control && (b.listen_fd = open_control(settings->control)) < 0) {
    complain("%s: %m", settings->control);
  } else if ((r = spawn(&b, &old)) < 0) {
    complain("cannot start a child: %s", strerror(-r));
  } else {
    loop(&b);
    status = b.child_status;
  }

  for (unsigned i = 0; i < CLIENTS_MAX; i++)
    if (b.clients[i].fd >= 0)
      drop_client(&b.clients[i]);
  if (b.listen_fd >= 0) {
    close(b.listen_fd);
    unlink(settings->control);
  }
  serial_bed_destroy(b.bed);
  if (b.signal_fd >= 0)
    close(b.signal_fd);
  return status;
}

int main(int argc, char **argv) {
  struct settings settings = {0};
  serial_bed_without_sanitizer(argv);
  int r = parse_settings(argc, argv, &settings);
  if (r <= 0)
    return r == 0 ? 0 : EXIT_USAGE;
  if (!settings.generate && !serial_bed_available()) {
    complain("umockdev is not preloaded: start me as umockdev-wrapper emi12-sim ...");
    return EXIT_SKIP;
  }
  if (settings.generate)
    settings.module.unpaced = false; /* its time is that of the file */
  uint8_t *stream = NULL;
  if (settings.stream_file) {
    stream = read_stream(settings.stream_file, &settings.module.stream_len);
    if (!stream)
      return 1;
    settings.module.stream = stream;
  }
  int status = EXIT_USAGE;
  struct emi12_sim *sim = emi12_sim_create(&settings.module);
  if (!sim)
    complain("module: %m");
  for (unsigned i = 0; sim && i < settings.fault_count; i++) {
    if (emi12_sim_fault_text(sim, settings.faults[i]) < 0) {
      complain("unknown fault or bad argument '%s' (--help lists them)", settings.faults[i]);
      emi12_sim_destroy(sim);
      sim = NULL;
    }
  }
  if (sim)
    status = settings.generate ? generate(sim, settings.generate_us) : run(&settings, sim);
  emi12_sim_destroy(sim);
  free(stream);
  return status;
}
