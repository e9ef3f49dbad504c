/* The version at run time is the header's, in all three parts; every number has a name and words. */
#include "check.h"

int main(void) {
    static const int codes[] = {
        MPSHM_EINVAL, MPSHM_ENOTFOUND, MPSHM_EEXISTS, MPSHM_EPERM, MPSHM_ENOSPACE, MPSHM_ELIMIT, MPSHM_ESYSTEM,
        MPSHM_EVERSION, MPSHM_ETYPE, MPSHM_ECORRUPT, MPSHM_EFULL, MPSHM_EEMPTY, MPSHM_ECLOSED, MPSHM_ETIMEDOUT,
        MPSHM_EINTERRUPTED, MPSHM_ETOOBIG, MPSHM_EBUSY, MPSHM_EOWNERDEAD, MPSHM_ENOTRECOVERABLE, MPSHM_ENOTOWNER,
        MPSHM_EDEADLOCK, MPSHM_EPEERDEAD, MPSHM_EFORKED, MPSHM_ETASKFAILED, MPSHM_EWORKERDIED, MPSHM_ECANCELLED,
        MPSHM_EBROKEN, MPSHM_EPANIC};
    size_t i, k;
    uint32_t version = mpshm_version();
    char text[8];
    mpshm_segment_t *none;
    SAME(version >> 16, MPSHM_VERSION_MAJOR);
    SAME(version >> 8 & 255, MPSHM_VERSION_MINOR);
    SAME(version & 255, MPSHM_VERSION_PATCH);
    SAME(mpshm_format_version(), 1);
    for (i = 0; i < sizeof codes / sizeof *codes; i++) {
        TRUE(codes[i] < 0);
        TRUE(strncmp(mpshm_err_name(codes[i]), "MPSHM_E", 7) == 0);
        TRUE(strcmp(mpshm_err_name(codes[i]), "MPSHM_E?") != 0);
        TRUE(strlen(mpshm_strerror(codes[i])) > 3);
        for (k = 0; k < i; k++) TRUE(codes[i] != codes[k]);
    }
    TRUE(strcmp(mpshm_err_name(12345), "MPSHM_E?") == 0);
    /* The sentence names the object; it is cut to the buffer, and says what it needs. */
    SAME(mpshm_segment_attach("no-such-one", NULL, &none), MPSHM_ENOTFOUND);
    TRUE(mpshm_last_errno() != 0);
    TRUE(mpshm_last_message(text, sizeof text) > sizeof text);
    SAME(strlen(text), sizeof text - 1);
    TRUE(mpshm_last_message(NULL, 0) > sizeof text);
    TRUE(mpshm_cpu_count() >= 1);
    return 0;
}
