/* asaleed: the daemon. Opens everything in order, says READY, and runs the one loop. */
#include "api.h"

#include "log.h"
#include "retention.h"
#include "str.h"
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <link.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define CONF_DEFAULT "/etc/asaleed/asaleed.conf"
#define STOP_US (5 * 1000000ull) /* for the instruments to come to rest */
#define LISTENERS_MAX 8

struct program {
  struct conf conf;
  sd_event *event;
  struct api api;
  struct http *http[LISTENERS_MAX];
  unsigned n_http;
  sd_event_source *commit, *stop;
  bool stopping;
  char unlink_socket[CONF_PATH_MAX];
};

static const char usage[] = "asaleed - device-integration daemon of a practice\n\n"
                            "usage: asaleed [options]\n\n"
                            "  --config FILE          configuration (" CONF_DEFAULT ")\n"
                            "  --store DIR            where readings are kept (/var/lib/asaleed)\n"
                            "  --socket PATH          Unix socket of the API (/run/asaleed/api.sock)\n"
                            "  --listen ADDR:PORT     loopback TCP address of the API (none; port 0 = any free one)\n"
                            "  --driver-program FILE  the worker program (/usr/libexec/asaleed/asaleed-driver)\n"
                            "  --export-program FILE  makes DICOM objects (/usr/libexec/asaleed/asaleed-export)\n"
                            "  --devices DIR          folder of the instruments' *.conf (/etc/asaleed/devices.d)\n"
                            "  --protocols DIR        folder of the cooperation protocols' *.conf "
                            "(/etc/asaleed/protocols.d)\n"
                            "  --messages FILE        French sentences (/usr/share/asaleed/messages.fr)\n"
                            "  --check-config         read the configuration, say what is wrong, end\n"
                            "  --api-reference        print the API's reference page (Markdown)\n"
                            "  --version, --help\n\n"
                            "Sockets passed by systemd are served instead of --socket and --listen.\n";

/* ---- options ---- */

enum option_id {
  OPT_CONFIG = 256,
  OPT_STORE,
  OPT_SOCKET,
  OPT_LISTEN,
  OPT_DRIVER,
  OPT_EXPORT,
  OPT_DEVICES,
  OPT_PROTOCOLS,
  OPT_MESSAGES,
  OPT_CHECK,
  OPT_REFERENCE,
  OPT_VERSION,
  OPT_HELP
};

static const struct option options[] = {
    {"config", required_argument, NULL, OPT_CONFIG},
    {"store", required_argument, NULL, OPT_STORE},
    {"socket", required_argument, NULL, OPT_SOCKET},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"driver-program", required_argument, NULL, OPT_DRIVER},
    {"export-program", required_argument, NULL, OPT_EXPORT},
    {"devices", required_argument, NULL, OPT_DEVICES},
    {"protocols", required_argument, NULL, OPT_PROTOCOLS},
    {"messages", required_argument, NULL, OPT_MESSAGES},
    {"check-config", no_argument, NULL, OPT_CHECK},
    {"api-reference", no_argument, NULL, OPT_REFERENCE},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static bool set(char *field, size_t size, const char *value, const char *name) {
  if (!value || str_copy(field, size, value))
    return true;
  fprintf(stderr, "asaleed: --%s: too long\n", name);
  return false;
}

/* <0: end with that exit status + 1000; 0: go on; 1: check only. */
static int read_options(struct program *p, int argc, char **argv) {
  const char *given[OPT_HELP + 1] = {0};
  bool check = false;
  for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    switch (o) {
    case OPT_HELP:
      fputs(usage, stdout);
      return -1000;
    case OPT_VERSION:
      puts("asaleed " ASALEED_VERSION);
      return -1000;
    case OPT_REFERENCE:
      api_print_reference();
      return -1000;
    case OPT_CHECK:
      check = true;
      break;
    case '?':
      fputs("Try asaleed --help.\n", stderr);
      return -998;
    default:
      given[o] = optarg;
    }
  }
  if (optind != argc) {
    fprintf(stderr, "asaleed: unexpected argument %s\nTry asaleed --help.\n", argv[optind]);
    return -998;
  }
  struct conf *c = &p->conf;
  conf_defaults(c);
  int r = conf_read(c, given[OPT_CONFIG] ? given[OPT_CONFIG] : CONF_DEFAULT, !given[OPT_CONFIG]);
  if (!set(c->store, sizeof c->store, given[OPT_STORE], "store") ||
      !set(c->socket, sizeof c->socket, given[OPT_SOCKET], "socket") ||
      !set(c->listen, sizeof c->listen, given[OPT_LISTEN], "listen") ||
      !set(c->driver_program, sizeof c->driver_program, given[OPT_DRIVER], "driver-program") ||
      !set(c->export_program, sizeof c->export_program, given[OPT_EXPORT], "export-program") ||
      !set(c->devices_dir, sizeof c->devices_dir, given[OPT_DEVICES], "devices") ||
      !set(c->protocols_dir, sizeof c->protocols_dir, given[OPT_PROTOCOLS], "protocols") ||
      !set(c->messages, sizeof c->messages, given[OPT_MESSAGES], "messages"))
    r = -EINVAL;
  if (c->listen[0] && !conf_is_loopback(c->listen)) {
    fprintf(stderr, "asaleed: --listen %s: a loopback address and port is expected, as 127.0.0.1:8430\n", c->listen);
    r = -EINVAL;
  }
  int devices = conf_read_devices(c);
  int protocols = conf_read_protocols(c);
  int messages = problem_read_messages(c->messages);
  if (r < 0 || devices < 0 || protocols < 0 || messages < 0)
    return -999;
  return check;
}

static void warn_of_no_act(const struct conf *c) {
  for (unsigned i = 0; i < c->n_protocols; i++)
    for (enum acq_modality m = ACQ_ECG; m <= ACQ_MEASUREMENT; m++)
      if (conf_act(c->protocols[i], m))
        return;
  log_warning("no protocol in %s opens an act: nothing can be ordered", c->protocols_dir);
}

static int check_config(struct program *p) {
  struct devices *d;
  int r = devices_open(NULL, &p->conf, &d);
  if (r < 0)
    return 1;
  r = devices_load_drivers(d, NULL, NULL, NULL);
  if (r == 0)
    r = devices_check(d);
  devices_close(d);
  if (r == 0 && access(p->conf.export_program, X_OK) < 0)
    r = log_errno(LOG_ERROR, -errno, "export-program: cannot run %s", p->conf.export_program);
  if (r == 0) {
    warn_of_no_act(&p->conf);
    printf("configuration is correct: %u instrument(s), %u protocol(s)\n", p->conf.n_devices, p->conf.n_protocols);
  }
  return r == 0 ? 0 : 1;
}

/* ---- sockets ---- */

static int listen_unix(struct program *p, const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (!str_copy(address.sun_path, sizeof address.sun_path, path))
    return log_errno(LOG_ERROR, -ENAMETOOLONG, "socket %s", path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    return -errno;
  /* A socket file that nobody answers on was left by a run that was killed. */
  struct stat st;
  if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno != ECONNREFUSED) {
      close(fd);
      return log_errno(LOG_ERROR, -EADDRINUSE, "another program answers on %s: end it, or choose another --socket",
                       path);
    }
    unlink(path);
  }
  mode_t mask = umask(0117);
  int r = bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, SOMAXCONN) < 0 ? -errno : fd;
  umask(mask);
  if (r < 0) {
    close(fd);
    return log_errno(LOG_ERROR, r, "cannot listen on %s", path);
  }
  str_copy(p->unlink_socket, sizeof p->unlink_socket, path);
  return fd;
}

static int listen_tcp(const char *where) {
  char host[64] = "";
  const char *colon = strrchr(where, ':');
  uint64_t port = 0;
  union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
  } a = {0};
  socklen_t n = sizeof a;
  str_to_u64(colon + 1, 0, 65535, &port);
  memcpy(host, where, (size_t)(colon - where) < sizeof host ? (size_t)(colon - where) : 0);
  if (inet_pton(AF_INET, host, &a.v4.sin_addr) == 1) {
    a.v4.sin_family = AF_INET;
    a.v4.sin_port = htons((uint16_t)port);
    n = sizeof a.v4;
  } else {
    a.v6.sin6_family = AF_INET6;
    a.v6.sin6_addr = in6addr_loopback;
    a.v6.sin6_port = htons((uint16_t)port);
    n = sizeof a.v6;
  }
  int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
  if (fd < 0)
    return -errno;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, &a.any, n) < 0 || listen(fd, SOMAXCONN) < 0 || getsockname(fd, &a.any, &n) < 0) {
    int r = -errno;
    close(fd);
    return log_errno(LOG_ERROR, r, "cannot listen on %s", where);
  }
  log_notice("listening on http://%s:%u", host, ntohs(a.any.sa_family == AF_INET ? a.v4.sin_port : a.v6.sin6_port));
  return fd;
}

static int serve(struct program *p, int fd) {
  if (fd < 0)
    return fd;
  if (p->n_http == LISTENERS_MAX) {
    close(fd);
    return -E2BIG;
  }
  int r =
      http_open(p->event, fd, (struct http_calls){.accept = api_accept, .handler = api_handle, .worked = api_commit},
                &p->api, &p->http[p->n_http]);
  if (r >= 0)
    p->n_http++;
  return r;
}

static int open_sockets(struct program *p) {
  int n = sd_listen_fds(1), r = n < 0 ? n : 0;
  for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n && r >= 0; fd++) {
    if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0)
      r = log_errno(LOG_ERROR, -EINVAL, "a passed descriptor is no listening socket");
    else
      r = serve(p, fd);
  }
  if (n > 0 || r < 0)
    return r;
  if (p->conf.socket[0])
    r = serve(p, listen_unix(p, p->conf.socket));
  if (r >= 0 && p->conf.listen[0])
    r = serve(p, listen_tcp(p->conf.listen));
  if (r >= 0 && !p->n_http)
    r = log_errno(LOG_ERROR, -EINVAL, "nothing to listen on");
  return r;
}

/* ---- the loop ---- */

/* Code and constant tables of one loaded object: pages of a file, unchanged, that come back from the page cache when
 * they are used again. */
static int give_back_object(struct dl_phdr_info *object, size_t size, void *arg) {
  (void)size;
  uintptr_t page = *(const uintptr_t *)arg;
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &object->dlpi_phdr[i];
    uintptr_t from = (object->dlpi_addr + part->p_vaddr) & ~(page - 1);
    uintptr_t to = (object->dlpi_addr + part->p_vaddr + part->p_memsz) & ~(page - 1);
    if (part->p_type == PT_LOAD && !(part->p_flags & PF_W) && to > from)
      madvise((void *)from, to - from, MADV_DONTNEED);
  }
  return 0;
}

/* The daemon sleeps most of its life. What only its libraries' own start-up needed, two thirds of what is resident
 * then, is not kept for that. */
static void give_back(void) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  malloc_trim(0);
  dl_iterate_phdr(give_back_object, &page);
}

/* After whatever else one turn of the loop did (workers, timers): one commit for all of it. */
static int on_turn(sd_event_source *source, void *arg) {
  (void)source;
  struct program *p = arg;
  api_commit(&p->api);
  if (p->stopping && !sessions_running(p->api.sessions))
    sd_event_exit(p->event, 0);
  return 0;
}

static int on_stop_late(sd_event_source *source, uint64_t usec, void *arg) {
  (void)source;
  (void)usec;
  struct program *p = arg;
  return sd_event_exit(p->event, 0);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *arg) {
  (void)source;
  (void)si;
  struct program *p = arg;
  if (p->stopping)
    return sd_event_exit(p->event, 0);
  sd_notify(false, "STOPPING=1\nSTATUS=Stopping");
  log_notice("stopping");
  p->stopping = true;
  intake_stop(p->api.intake);
  sessions_stop(p->api.sessions);
  if (!sessions_running(p->api.sessions))
    return sd_event_exit(p->event, 0);
  return sd_event_add_time_relative(p->event, &p->stop, CLOCK_MONOTONIC, STOP_US, 0, on_stop_late, p);
}

static int open_loop(struct program *p) {
  sigset_t set_;
  sigemptyset(&set_);
  sigaddset(&set_, SIGTERM);
  sigaddset(&set_, SIGINT);
  sigaddset(&set_, SIGCHLD);
  if (sigprocmask(SIG_BLOCK, &set_, NULL) < 0)
    return -errno;
  signal(SIGPIPE, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  int r = sd_event_default(&p->event);
  if (r >= 0)
    r = sd_event_add_signal(p->event, NULL, SIGTERM, on_signal, p);
  if (r >= 0)
    r = sd_event_add_signal(p->event, NULL, SIGINT, on_signal, p);
  if (r >= 0)
    r = sd_event_add_post(p->event, &p->commit, on_turn, p);
  if (r >= 0)
    r = sd_event_set_watchdog(p->event, true);
  return r < 0 ? log_errno(LOG_ERROR, r, "cannot make the event loop") : 0;
}

/* What needs to know the drivers. */
static void on_drivers(void *arg) {
  struct api *a = arg;
  collectors_start(a->collectors);
  intake_wake(a->intake);
}

static int open_parts(struct program *p) {
  struct api *a = &p->api;
  int r = hash_open();
  if (r >= 0)
    r = store_open(p->conf.store, &a->store);
  if (r >= 0 && (r = artefacts_open(p->conf.store, &a->artefacts)) < 0)
    log_errno(LOG_ERROR, r, "cannot open %s/artefacts", p->conf.store);
  if (r >= 0)
    retention_sweep(a->store, a->artefacts); /* says itself what stays; then it is tried again at the next start */
  if (r >= 0)
    r = devices_open(p->event, &p->conf, &a->devices);
  if (r >= 0)
    r = hub_open(&a->hub);
  if (r >= 0)
    r = reading_aids_open(p->conf.reference_values, &a->aids);
  if (r >= 0)
    r = login_open(p->conf.idle_minutes, p->conf.login_hours, &a->logins);
  if (r >= 0)
    r = passwords_open(p->event, &a->passwords);
  if (r >= 0)
    r = reads_open(p->event, a->store, &a->reads);
  if (r >= 0)
    r = inspector_open(p->event, a->store, a->artefacts, &a->inspector);
  if (r < 0)
    return r;
  a->event = p->event;
  a->conf = &p->conf;
  struct dicom_parts export = {.event = p->event,
                               .store = a->store,
                               .artefacts = a->artefacts,
                               .devices = a->devices,
                               .program = p->conf.export_program};
  r = dicom_open(&export, &a->dicom);
  if (r < 0)
    return r;
  struct sessions_parts parts = {.event = p->event,
                                 .store = a->store,
                                 .artefacts = a->artefacts,
                                 .devices = a->devices,
                                 .hub = a->hub,
                                 .dicom = a->dicom,
                                 .conf = &p->conf,
                                 .driver_program = p->conf.driver_program};
  r = sessions_open(&parts, &a->sessions);
  if (r >= 0) {
    sessions_recover(a->sessions);
    int gone = audit_erase_finish(a->store, a->artefacts);
    if (gone < 0)
      log_errno(LOG_ERROR, gone, "audit: the files of erased archives stay on the disk");
  }
  struct intake_parts intake = {.event = p->event,
                                .store = a->store,
                                .artefacts = a->artefacts,
                                .devices = a->devices,
                                .sessions = a->sessions,
                                .export_program = p->conf.export_program};
  if (r >= 0)
    r = intake_open(&intake, &a->intake);
  struct collectors_parts collectors = {.event = p->event,
                                        .store = a->store,
                                        .artefacts = a->artefacts,
                                        .devices = a->devices,
                                        .intake = a->intake,
                                        .driver_program = p->conf.driver_program,
                                        .media = p->conf.media};
  if (r >= 0)
    r = collectors_open(&collectors, &a->collectors);
  if (r >= 0)
    r = api_open(a);
  if (r >= 0)
    r = open_sockets(p);
  if (r >= 0)
    devices_load_drivers(a->devices, p->event, on_drivers,
                         a); /* says itself what went wrong; the queue works without drivers */
  return r;
}

static void close_parts(struct program *p) {
  struct api *a = &p->api;
  if (a->store)
    store_commit(a->store);
  inspector_close(a->inspector); /* who waits for it is told while there is somebody who sends it */
  while (p->n_http)
    http_close(p->http[--p->n_http]);
  api_close(a);
  collectors_close(a->collectors);
  sessions_close(a->sessions);
  intake_close(a->intake);
  dicom_close(a->dicom);
  hub_close(a->hub);
  reads_close(a->reads);
  passwords_close(a->passwords);
  login_close(a->logins);
  reading_aids_close(a->aids);
  devices_close(a->devices);
  artefacts_close(a->artefacts);
  store_close(a->store);
  conf_finish(&p->conf);
  sd_event_source_disable_unref(p->commit);
  sd_event_source_disable_unref(p->stop);
  sd_event_unref(p->event);
  if (p->unlink_socket[0])
    unlink(p->unlink_socket);
}

int main(int argc, char **argv) {
  static struct program p;
  int mode = read_options(&p, argc, argv);
  if (mode < 0)
    return mode + 1000;
  log_open("asaleed", (enum log_level)p.conf.log_level);
  if (mode == 1) {
    int status = check_config(&p);
    conf_finish(&p.conf);
    return status;
  }
  warn_of_no_act(&p.conf);
  /* A dump would hold patients' data. */
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  int r = open_loop(&p);
  if (r >= 0)
    r = open_parts(&p);
  if (r >= 0) {
    sd_notifyf(false, "READY=1\nSTATUS=%u instrument(s), %u protocol(s) declared", p.conf.n_devices,
               p.conf.n_protocols);
    log_notice("ready: version " ASALEED_VERSION ", %u instrument(s), %u protocol(s) declared", p.conf.n_devices,
               p.conf.n_protocols);
    give_back();
    r = sd_event_loop(p.event);
  }
  close_parts(&p);
  return r < 0 ? 1 : 0;
}
