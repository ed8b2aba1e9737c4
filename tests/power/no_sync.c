/* Preloaded into nodes to show that the test can see: syncing says that it is done, and does nothing. */
int fsync(int file) { (void)file; return 0; }
int fdatasync(int file) { (void)file; return 0; }
int msync(void *from, unsigned long size, int flags) { (void)from; (void)size; (void)flags; return 0; }
