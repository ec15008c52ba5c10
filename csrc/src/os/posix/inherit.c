#include "../../os.h"

#ifdef PF__OS_POSIX

ssize_t pf__inherited(char *buf, size_t size)
{
    (void)buf, (void)size;
    return -ENOSYS;
}

#endif
