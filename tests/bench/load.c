/* An HTTP/1.1 load client over keep-alive connections: one thread a client, one request in flight on each.
 *
 *   load (--unix PATH | --tcp PORT) [--header LINE]... [--method M] [--path P] [--body FILE] [--unique TEXT]
 *        [--first N] [--key PREFIX] [--clients N] [--count N | --seconds S]
 *
 * Where TEXT (digits) stands in the body a number takes its place, a new one for each request, of the same length, so
 * that no two requests store the same. --key sends an Idempotency-Key made of PREFIX and that number. Prints one line:
 *   requests errors seconds p50_us p99_us min_us max_us
 * An answer other than 2xx is an error. */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX 64
#define SAMPLES_MAX (1u << 20)
#define HOLES_MAX 16
#define ANSWER_HEAD_MAX 8192

static struct {
  const char *unix_path, *method, *path, *key;
  int port;
  char headers[2048];
  char *body;
  size_t body_n;
  size_t holes[HOLES_MAX], n_holes, hole_n;
  uint64_t count, deadline_ns;
} work = {.method = "GET", .path = "/"};

static atomic_uint_fast64_t taken, number;

struct client {
  pthread_t thread;
  int fd;
  uint64_t done, errors;
  uint32_t *us;
  char in[65536];
  size_t have;
};

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

__attribute__((noreturn)) static void die(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int dial(void) {
  int fd, one = 1;
  if (work.unix_path) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", work.unix_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
      die("connect");
  } else {
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)work.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
      die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  }
  return fd;
}

static void send_all(struct client *c, const char *bytes, size_t n) {
  while (n) {
    ssize_t done = send(c->fd, bytes, n, MSG_NOSIGNAL);
    if (done < 0)
      die("send");
    bytes += done;
    n -= (size_t)done;
  }
}

static void receive(struct client *c) {
  ssize_t n = recv(c->fd, c->in + c->have, sizeof c->in - c->have, 0);
  if (n <= 0)
    die("the server closed the connection");
  c->have += (size_t)n;
}

/* The value of a header within the head that ends at `end`, or NULL. */
static const char *header(const char *head, const char *end, const char *name) {
  size_t n = strlen(name);
  for (const char *line = strstr(head, "\r\n"); line && line < end; line = strstr(line + 2, "\r\n"))
    if (!strncasecmp(line + 2, name, n) && line[2 + n] == ':')
      return line + 3 + n + strspn(line + 3 + n, " ");
  return NULL;
}

/* Reads one answer whole; its status. */
static int answer(struct client *c) {
  const char *end = NULL;
  c->have = 0;
  while (!end) {
    if (c->have >= ANSWER_HEAD_MAX)
      die("too long a head");
    receive(c);
    c->in[c->have < sizeof c->in ? c->have : sizeof c->in - 1] = 0;
    end = strstr(c->in, "\r\n\r\n");
  }
  int status = atoi(c->in + 9);
  const char *length = header(c->in, end, "Content-Length");
  size_t head = (size_t)(end - c->in) + 4;
  if (length) {
    size_t left = head + strtoul(length, NULL, 10);
    while (left > c->have) { /* of a long body only its length matters */
      left -= c->have;
      c->have = 0;
      receive(c);
    }
  } else {
    errno = EPROTO;
    die("an answer without Content-Length");
  }
  return status;
}

static bool next(uint64_t *ret) {
  uint64_t mine = atomic_fetch_add(&taken, 1);
  if (work.count ? mine >= work.count : now_ns() >= work.deadline_ns)
    return false;
  *ret = atomic_fetch_add(&number, 1);
  return true;
}

static void *run(void *arg) {
  struct client *c = arg;
  char *body = malloc(work.body_n + 1), head[4096], key[128] = "", digits[32];
  if (!body)
    die("malloc");
  memcpy(body, work.body, work.body_n);
  for (uint64_t n; next(&n);) {
    snprintf(digits, sizeof digits, "%0*llu", (int)work.hole_n, (unsigned long long)n);
    for (size_t i = 0; i < work.n_holes; i++)
      memcpy(body + work.holes[i], digits, work.hole_n);
    if (work.key)
      snprintf(key, sizeof key, "Idempotency-Key: %s%010llu\r\n", work.key, (unsigned long long)n);
    int head_n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s%sContent-Length: %zu\r\n\r\n",
                          work.method, work.path, work.headers, key, work.body_n);
    uint64_t start = now_ns();
    if (work.body_n + (size_t)head_n < sizeof head) { /* a short request is one packet */
      memcpy(head + head_n, body, work.body_n);
      send_all(c, head, (size_t)head_n + work.body_n);
    } else {
      send_all(c, head, (size_t)head_n);
      send_all(c, body, work.body_n);
    }
    int status = answer(c);
    uint64_t us = (now_ns() - start) / 1000;
    if (c->done < SAMPLES_MAX)
      c->us[c->done] = (uint32_t)us;
    c->done++;
    if (status / 100 != 2 && c->errors++ == 0)
      fprintf(stderr, "load: %s %s: %.200s\n", work.method, work.path, c->in);
  }
  free(body);
  return NULL;
}

static int by_value(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static void read_body(const char *path) {
  FILE *f = fopen(path, "rb");
  struct stat st;
  if (!f || fstat(fileno(f), &st) < 0 || !(work.body = malloc((size_t)st.st_size + 1)))
    die(path);
  work.body_n = fread(work.body, 1, (size_t)st.st_size, f);
  fclose(f);
}

static void find_holes(const char *text) {
  work.hole_n = strlen(text);
  for (size_t i = 0; i + work.hole_n <= work.body_n && work.n_holes < HOLES_MAX; i++)
    if (!memcmp(work.body + i, text, work.hole_n))
      work.holes[work.n_holes++] = i;
  if (!work.n_holes) {
    errno = EINVAL;
    die("--unique: not in the body");
  }
}

int main(int argc, char **argv) {
  static const struct option options[] = {{"unix", 1, NULL, 'u'},
                                          {"tcp", 1, NULL, 't'},
                                          {"header", 1, NULL, 'h'},
                                          {"method", 1, NULL, 'm'},
                                          {"path", 1, NULL, 'p'},
                                          {"body", 1, NULL, 'b'},
                                          {"unique", 1, NULL, 'x'},
                                          {"first", 1, NULL, 'f'},
                                          {"key", 1, NULL, 'k'},
                                          {"clients", 1, NULL, 'c'},
                                          {"count", 1, NULL, 'n'},
                                          {"seconds", 1, NULL, 's'},
                                          {0}};
  unsigned clients = 1;
  double seconds = 1;
  const char *unique = NULL;
  for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;)
    switch (o) {
    case 'u':
      work.unix_path = optarg;
      break;
    case 't':
      work.port = atoi(optarg);
      break;
    case 'h':
      snprintf(work.headers + strlen(work.headers), sizeof work.headers - strlen(work.headers), "%s\r\n", optarg);
      break;
    case 'm':
      work.method = optarg;
      break;
    case 'p':
      work.path = optarg;
      break;
    case 'b':
      read_body(optarg);
      break;
    case 'x':
      unique = optarg;
      break;
    case 'f':
      atomic_store(&number, strtoull(optarg, NULL, 10));
      break;
    case 'k':
      work.key = optarg;
      break;
    case 'c':
      clients = (unsigned)atoi(optarg);
      break;
    case 'n':
      work.count = strtoull(optarg, NULL, 10);
      break;
    case 's':
      seconds = strtod(optarg, NULL);
      break;
    default:
      return 2;
    }
  if (unique)
    find_holes(unique);
  if (!clients || clients > CLIENTS_MAX)
    return 2;
  static struct client all[CLIENTS_MAX];
  for (unsigned i = 0; i < clients; i++) {
    all[i].fd = dial();
    if (!(all[i].us = malloc(SAMPLES_MAX * sizeof *all[i].us)))
      die("malloc");
  }
  uint64_t start = now_ns();
  work.deadline_ns = start + (uint64_t)(seconds * 1e9);
  for (unsigned i = 0; i < clients; i++)
    if (pthread_create(&all[i].thread, NULL, run, &all[i]))
      die("thread");
  uint64_t done = 0, errors = 0;
  for (unsigned i = 0; i < clients; i++) {
    pthread_join(all[i].thread, NULL);
    done += all[i].done;
    errors += all[i].errors;
  }
  double took = (double)(now_ns() - start) / 1e9;
  uint32_t *us = malloc((done + 1) * sizeof *us);
  size_t n = 0;
  for (unsigned i = 0; us && i < clients; i++)
    for (uint64_t k = 0; k < all[i].done && k < SAMPLES_MAX; k++)
      us[n++] = all[i].us[k];
  if (!us || !n)
    return 1;
  qsort(us, n, sizeof *us, by_value);
  printf("%llu %llu %.6f %u %u %u %u\n", (unsigned long long)done, (unsigned long long)errors, took, us[n / 2],
         us[n * 99 / 100], us[0], us[n - 1]);
  return errors != 0;
}
