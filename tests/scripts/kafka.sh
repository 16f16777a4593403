#!/usr/bin/env bash
# Installs the jars of Apache Kafka from Maven Central, where they are not yet, and prints their
# folder. They are run with: java -cp "FOLDER/*" kafka.Kafka server.properties
set -euo pipefail

version=4.1.1
log4j=2.25.1
cache="${XDG_CACHE_HOME:-$HOME/.cache}/heddle"
target="$cache/kafka-$version"

if [ ! -s "$target/kafka_2.13-$version.jar" ]; then
    mkdir -p "$cache"
    part="$(mktemp -d "$cache/kafka.XXXXXX")"
    trap 'rm -rf "$part"' EXIT
    cat >"$part/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>heddle</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>$version</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>$log4j</version>
    </dependency>
  </dependencies>
</project>
POM
    mvn --batch-mode --quiet --file "$part/pom.xml" \
        org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$part/jars" >&2
    [ -s "$part/jars/kafka_2.13-$version.jar" ]
    # Another process may have been faster; its result is as good.
    mv -T "$part/jars" "$target" 2>/dev/null || [ -s "$target/kafka_2.13-$version.jar" ]
fi
echo "$target"
