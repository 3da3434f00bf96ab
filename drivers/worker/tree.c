#include "tree.h"

#include "hash.h"
#include "log.h"
#include "str.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/openat2.h>

#define NS INT64_C(1000000000)
#define OPEN_SAFELY (O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC)
#define OPEN_TRIES 8 /* a rename anywhere may make the kernel ask for another try */
#define WATCHED (IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)

/* Room for one more (for `more` more); false without memory. */
static bool room(void **array, size_t *cap, size_t n, size_t more, size_t size) {
  if (n + more <= *cap)
    return true;
  size_t want = (n + more) * 2;
  void *larger = reallocarray(*array, want, size);
  if (!larger)
    return false;
  *array = larger;
  *cap = want;
  return true;
}

/* ---- opening ---- */

/* For kernels before 5.6: a component at a time, and never onto another device. */
static int open_by_steps(int folder, const char *path, int flags) {
  char part[NAME_MAX + 1];
  struct stat st, root;
  int at = folder;
  if (fstat(folder, &root) < 0)
    return -errno;
  for (;;) {
    size_t n = strcspn(path, "/");
    if (n > NAME_MAX)
      return -ENAMETOOLONG;
    memcpy(part, path, n);
    part[n] = 0;
    int next = openat(at, part, path[n] ? OPEN_SAFELY | O_DIRECTORY : flags);
    int r = next < 0 ? -errno : fstat(next, &st) < 0 ? -errno : st.st_dev != root.st_dev ? -EXDEV : 0;
    if (at != folder)
      close(at);
    if (r < 0) {
      fd_finish(&next);
      return r;
    }
    if (!path[n])
      return next;
    at = next;
    path += n + 1;
  }
}

/* A path beneath the folder: no link in it, no mount crossed. */
static int open_beneath(int folder, const char *path, int flags) {
  const struct open_how how = {.flags = (unsigned)flags,
                               .resolve =
                                   RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
  int fd = -1;
  for (int i = 0; i < OPEN_TRIES && fd < 0; i++) {
    fd = (int)syscall(SYS_openat2, folder, path, &how, sizeof how);
    if (fd < 0 && errno != EAGAIN)
      break;
  }
  return fd >= 0 ? fd : errno == ENOSYS ? open_by_steps(folder, path, flags) : -errno;
}

static struct tree_look look_of(const struct stat *st) {
  return (struct tree_look){.inode = st->st_ino,
                            .size = (uint64_t)st->st_size,
                            .modified_ns = st->st_mtim.tv_sec * NS + st->st_mtim.tv_nsec,
                            .changed_ns = st->st_ctim.tv_sec * NS + st->st_ctim.tv_nsec};
}

bool tree_look_same(const struct tree_look *a, const struct tree_look *b) {
  return a->inode == b->inode && a->size == b->size && a->modified_ns == b->modified_ns &&
         a->changed_ns == b->changed_ns;
}

bool tree_same(int fd, const struct tree_look *look) {
  struct stat st;
  if (fstat(fd, &st) < 0)
    return false;
  struct tree_look now = look_of(&st);
  return tree_look_same(&now, look);
}

int tree_open(const struct tree *t, const struct tree_file *f, struct tree_look *ret) {
  char path[PATH_MAX];
  struct stat st;
  tree_path(t, f, path);
  int fd = open_beneath(t->root, path, OPEN_SAFELY);
  if (fd < 0)
    return fd;
  int r = fstat(fd, &st) < 0 ? -errno : !S_ISREG(st.st_mode) ? -ELOOP : 0;
  if (r < 0) {
    close(fd);
    return r;
  }
  *ret = look_of(&st);
  return fd;
}

bool tree_is_gone(int err) {
  return err == -ENODEV || err == -ESTALE || err == -ENOTCONN || err == -EHOSTDOWN || err == -ESHUTDOWN;
}

/* ---- paths ---- */

/* The length of a folder's path with its "/", up to PATH_MAX; written to ret when that is not NULL. */
static size_t folder_path(const struct tree *t, uint32_t folder, char *ret) {
  const char *parts[TREE_DEPTH_MAX + 1];
  size_t n = 0, length = 0;
  for (uint32_t i = folder; i; i = t->folders[i].parent)
    parts[n++] = t->names + t->folders[i].name;
  while (n-- > 0) {
    size_t part = strlen(parts[n]);
    if (ret) {
      memcpy(ret + length, parts[n], part);
      ret[length + part] = '/';
    }
    length += part + 1;
  }
  return length;
}

void tree_path(const struct tree *t, const struct tree_file *f, char ret[static PATH_MAX]) {
  const char *name = t->names + f->name;
  memcpy(ret + folder_path(t, f->folder, ret), name, strlen(name) + 1);
}

uint64_t tree_print(const struct tree *t, const struct tree_file *f) {
  char path[PATH_MAX];
  uint8_t sha256[HASH_BYTES];
  uint64_t print;
  struct hash_stream h;
  tree_path(t, f, path);
  hash_start(&h);
  hash_add(&h, path, strlen(path));
  hash_add(&h, &f->look, sizeof f->look);
  hash_end(&h, sha256);
  memcpy(&print, sha256, sizeof print);
  return print;
}

/* ---- listing ---- */

struct entry {
  uint32_t name;
  unsigned char type; /* DT_... */
};

/* What a walk passes on from folder to folder. */
struct walk {
  struct tree *t;
  struct wire_pass *counts;
};

static int by_name(const void *a, const void *b, void *names) {
  return strcmp((char *)names + ((const struct entry *)a)->name, (char *)names + ((const struct entry *)b)->name);
}

static bool left_out(const char *name) {
  static const char *const systems[] = {"System Volume Information", "$RECYCLE.BIN", "RECYCLER", "lost+found"};
  for (size_t i = 0; i < sizeof systems / sizeof *systems; i++)
    if (!strcasecmp(name, systems[i]))
      return true;
  return name[0] == '.';
}

static bool matches(const struct tree *t, const char *name, uint32_t *ret) {
  for (uint32_t i = 0; i < t->order->n_patterns; i++)
    if (!fnmatch(t->order->pattern[i], name, FNM_CASEFOLD)) {
      *ret = i;
      return true;
    }
  return false;
}

static int add_name(struct tree *t, const char *name, uint32_t *ret) {
  size_t n = strlen(name) + 1;
  if (!room((void **)&t->names, &t->cap_names, t->n_names, n, 1))
    return -ENOMEM;
  memcpy(t->names + t->n_names, name, n);
  *ret = (uint32_t)t->n_names;
  t->n_names += n;
  return 0;
}

/* What a folder that could not be read to its end means: one is not the tree, but the first is. */
static int names_missing(const struct walk *w, uint32_t folder, int err) {
  if (err == -ENOMEM)
    return err;
  if (!folder || tree_is_gone(err))
    return -ENODEV;
  w->counts->unreadable += err != -ENOENT; /* removed meanwhile */
  return 0;
}

/* The names that an open folder has, sorted, malloc()ed. */
static int read_names(const struct walk *w, DIR *dir, uint32_t folder, struct entry **ret, size_t *ret_n) {
  struct tree *t = w->t;
  struct entry *entries = NULL;
  size_t n = 0, cap = 0;
  const struct dirent *e;
  int r = 0;
  while (r == 0 && (errno = 0, e = readdir(dir))) {
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
      continue;
    if (t->entries == TREE_ENTRIES_MAX) {
      w->counts->too_many = true;
      break;
    }
    t->entries++;
    if (left_out(e->d_name))
      continue;
    if (!room((void **)&entries, &cap, n, 1, sizeof *entries))
      r = -ENOMEM;
    else if ((r = add_name(t, e->d_name, &entries[n].name)) == 0)
      entries[n++].type = e->d_type;
  }
  if (r == 0 && !e && errno)
    r = -errno;
  if (r < 0 && (r = names_missing(w, folder, r)) < 0) {
    free(entries);
    return r;
  }
  if (n)
    qsort_r(entries, n, sizeof *entries, by_name, t->names);
  *ret = entries;
  *ret_n = n;
  return 0;
}

/* Before the folder is listed, so that no change is between the two. By its descriptor: its path may lead elsewhere by
 * now. */
static void watch(struct tree *t, int fd) {
  char path[32];
  if (t->inotify < 0 || t->watches >= TREE_WATCHES_MAX)
    return;
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int id = inotify_add_watch(t->inotify, path, WATCHED);
  if (id > t->last_watch) { /* else it had one */
    t->last_watch = id;
    t->watches++;
  } else if (id < 0 && errno == ENOSPC) {
    log_warning("collect: the system's limit of inotify watches is reached: some folders are only polled");
    t->watches = TREE_WATCHES_MAX;
  }
}

void tree_drain(struct tree *t) {
  _Alignas(struct inotify_event) char events[16384];
  ssize_t n;
  while ((n = read(t->inotify, events, sizeof events)) > 0)
    for (const char *at = events; at < events + n;) {
      const struct inotify_event *e = (const void *)at;
      if (e->mask & IN_IGNORED && t->watches)
        t->watches--;
      at += sizeof *e + e->len;
    }
}

static int list_folder(const struct walk *w, int fd, uint32_t folder, unsigned depth);

static int list_subfolder(const struct walk *w, int fd, uint32_t folder, uint32_t name, unsigned depth) {
  struct tree *t = w->t;
  if (depth == TREE_DEPTH_MAX) {
    w->counts->too_many = true;
    return 0;
  }
  int sub = open_beneath(fd, t->names + name, OPEN_SAFELY | O_DIRECTORY);
  if (sub < 0) {
    if (tree_is_gone(sub))
      return -ENODEV;
    /* Of another mount, a link by now, removed: none of ours. */
    w->counts->unreadable += sub != -EXDEV && sub != -ELOOP && sub != -ENOENT && sub != -ENOTDIR;
    return 0;
  }
  if (!room((void **)&t->folders, &t->cap_folders, t->n_folders, 1, sizeof *t->folders)) {
    close(sub);
    return -ENOMEM;
  }
  t->folders[t->n_folders++] = (struct tree_folder){folder, name};
  return list_folder(w, sub, (uint32_t)t->n_folders - 1, depth + 1);
}

/* A name that fits. */
static int list_file(const struct walk *w, uint32_t folder, uint32_t name, uint32_t pattern, const struct stat *st) {
  struct tree *t = w->t;
  struct wire_pass *p = w->counts;
  if (!S_ISREG(st->st_mode))
    p->not_files++;
  else if (!st->st_size)
    p->empty++;
  else if (st->st_size > t->order->max_bytes)
    p->too_large++;
  else if (folder_path(t, folder, NULL) + strlen(t->names + name) >= PATH_MAX)
    p->too_many = true;
  else if (!room((void **)&t->files, &t->cap_files, t->n_files, 1, sizeof *t->files))
    return -ENOMEM;
  else {
    struct tree_file *f = &t->files[t->n_files++];
    *f = (struct tree_file){.folder = folder, .name = name, .pattern = pattern, .look = look_of(st)};
    f->print = tree_print(t, f);
  }
  return 0;
}

static int list_entry(const struct walk *w, int fd, uint32_t folder, const struct entry *e, unsigned depth) {
  struct tree *t = w->t;
  const char *name = t->names + e->name;
  struct stat st;
  uint32_t pattern = 0;
  bool fits = matches(t, name, &pattern);
  if (e->type == DT_DIR)
    return list_subfolder(w, fd, folder, e->name, depth);
  if (!fits && e->type != DT_UNKNOWN)
    return 0;
  if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0) {
    if (tree_is_gone(-errno))
      return -ENODEV;
    w->counts->unreadable += fits && errno != ENOENT;
    return 0;
  }
  if (S_ISDIR(st.st_mode))
    return list_subfolder(w, fd, folder, e->name, depth);
  return fits ? list_file(w, folder, e->name, pattern, &st) : 0;
}

/* Takes fd over. */
static int list_folder(const struct walk *w, int fd, uint32_t folder, unsigned depth) {
  struct tree *t = w->t;
  struct entry *entries = NULL;
  size_t n = 0;
  struct stat st;
  if (fstat(fd, &st) == 0 && st.st_dev == t->omit.st_dev && st.st_ino == t->omit.st_ino) {
    close(fd);
    return 0;
  }
  watch(t, fd);
  DIR *dir = fdopendir(fd);
  if (!dir) {
    close(fd);
    return -ENOMEM;
  }
  int r = read_names(w, dir, folder, &entries, &n);
  for (size_t i = 0; i < n && r == 0; i++) {
    t->breathe(t->arg);
    r = list_entry(w, fd, folder, &entries[i], depth);
  }
  free(entries);
  closedir(dir);
  return r;
}

int tree_list(struct tree *t, struct wire_pass *ret) {
  const struct walk w = {t, ret};
  t->n_files = t->n_names = t->entries = 0;
  t->n_folders = 1; /* 0 is the root, which has no name */
  if (!room((void **)&t->folders, &t->cap_folders, 0, 1, sizeof *t->folders))
    return -ENOMEM;
  t->folders[0] = (struct tree_folder){0};
  int fd = open_beneath(t->root, ".", OPEN_SAFELY | O_DIRECTORY);
  if (fd < 0) /* it was open: nothing but its end keeps it from being opened again */
    return fd == -ENFILE || fd == -ENOMEM ? fd : -ENODEV;
  return list_folder(&w, fd, 0, 0);
}
