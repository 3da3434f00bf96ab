/* The files of a tree that somebody else fills, and may change at any moment: listed in the order of their names,
 * opened without ever following a link, crossing into another mount, or touching what is no file. */
#ifndef ASALEED_TREE_H
#define ASALEED_TREE_H

#include <asalee/wire.h>
#include <limits.h>
#include <sys/stat.h>

#define TREE_DEPTH_MAX 16       /* folders within folders */
#define TREE_ENTRIES_MAX 200000 /* of all kinds */
#define TREE_WATCHES_MAX 4096   /* folders that are watched; changes in others are found by the next pass */

/* What tells that a file is the one it was. */
struct tree_look {
  uint64_t inode, size;
  int64_t modified_ns, changed_ns; /* since 1970 UTC */
};

struct tree_file {
  uint32_t folder, name; /* in the tree's tables */
  uint32_t pattern;
  bool done; /* the caller's */
  struct tree_look look;
  uint64_t print; /* of path and look */
};

struct tree_folder {
  uint32_t parent, name;
};

struct tree {
  int root;                         /* the folder, open */
  const struct wire_collect *order; /* of which the patterns and max_bytes count here */
  struct stat omit;                 /* a folder that is none of the tree's files wherever it lies */
  int inotify;                      /* or -1 */
  unsigned watches;
  int last_watch;
  void (*breathe)(void *arg); /* called at every entry that is looked at */
  void *arg;
  /* What tree_list() found; NULL and 0 before. */
  struct tree_file *files;
  struct tree_folder *folders;
  char *names;
  size_t n_files, cap_files, n_folders, cap_folders, n_names, cap_names, entries;
};

/* Lists the tree anew; counts in ret what cannot be taken as it is (empty, too_large, not_files, unreadable, too_many).
 * 0; -ENODEV when the tree is no longer there, -ENOMEM. */
int tree_list(struct tree *t, struct wire_pass *ret);

/* Opens a file for reading and looks at it: a descriptor; -ELOOP when it is no regular file (any more), or why it
 * cannot be opened. */
int tree_open(const struct tree *t, const struct tree_file *f, struct tree_look *ret);

/* Looks again at what is open; false also when it cannot be looked at. */
bool tree_same(int fd, const struct tree_look *look);
bool tree_look_same(const struct tree_look *a, const struct tree_look *b);

/* The file's path within the tree; always fits. */
void tree_path(const struct tree *t, const struct tree_file *f, char ret[static PATH_MAX]);
uint64_t tree_print(const struct tree *t, const struct tree_file *f);

/* True when the error says that what the tree lies on is gone, not that one file has a fault. */
bool tree_is_gone(int err);

/* Reads the events there are: what they say is found by listing anew. */
void tree_drain(struct tree *t);

#endif
