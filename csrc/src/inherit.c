#include "procfast/inherit.h"

#include "os.h"

ssize_t pf_inherited(void *buf, size_t size)
{
    return pf__inherited(buf, size);
}
