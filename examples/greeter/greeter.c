#include <stdio.h>

int main(void) {
    char line[256];
    FILE *greeting = fopen("/etc/greeting", "r");
    if (greeting == NULL || fgets(line, sizeof line, greeting) == NULL) {
        fprintf(stderr, "greeter: no message of the day\n");
        return 1;
    }
    printf("%s, %s", GREETING, line);
    return 0;
}
