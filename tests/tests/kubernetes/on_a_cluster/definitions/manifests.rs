//! Manifests as users of Stash have them: they are taken as they are, and nothing of them is lost.

use serde_json::Value;

use super::{defined, kubectl, missing};

/// What the guides show, for a database of a chart.
const GUIDE: &str = "
apiVersion: v1
kind: Secret
metadata: {name: bucket-keys}
type: Opaque
data: {RESTIC_PASSWORD: c2VzYW1l, AWS_ACCESS_KEY_ID: aWQ=, AWS_SECRET_ACCESS_KEY: a2V5}
---
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {name: orders, labels: {app.kubernetes.io/instance: orders}, annotations: {stash.appscode.com/schedule: '0 3 * * *'}}
spec:
  clientConfig: {service: {name: orders-master, port: 6379, scheme: redis}}
  secret: {name: orders}
  secretTransforms:
  - renameKey: {from: redis-password, to: password}
  type: redis
  version: 7.0.5
---
apiVersion: stash.appscode.com/v1alpha1
kind: Repository
metadata: {name: orders-bucket}
spec:
  backend:
    s3: {endpoint: s3.example.org, bucket: backups, prefix: /shop/orders, region: eu-central-1}
    storageSecretName: bucket-keys
---
apiVersion: stash.appscode.com/v1beta1
kind: BackupConfiguration
metadata: {name: orders-nightly}
spec:
  schedule: '30 2 * * *'
  task: {name: redis-backup-7.0.5, params: [{name: args, value: -db 0}]}
  repository: {name: orders-bucket}
  target: {ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: orders}}
  runtimeSettings:
    container: {resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {cpu: 1, memory: 256Mi}}}
    pod: {securityContext: {runAsUser: 65534, runAsGroup: 65534}}
  retentionPolicy: {name: a-month, keepLast: 5, keepDaily: 7, keepWeekly: 4, keepMonthly: 1, keepYearly: 1, prune: true}
---
apiVersion: stash.appscode.com/v1beta1
kind: RestoreSession
metadata: {name: orders-back}
spec:
  task: {name: redis-restore-7.0.5, params: [{name: args, value: --pipe-timeout 300}]}
  repository: {name: orders-bucket}
  target: {ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: orders}}
  rules: [{snapshots: [latest]}]
";

/// What else the kinds can say.
const ALL: &str = "
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {name: everything}
spec:
  type: kubedb.com/redis
  version: 7.2.3
  appRef: {apiGroup: kubedb.com, kind: Redis, name: everything, namespace: elsewhere}
  clientConfig:
    url: rediss://everything.example.org:6380/2
    service: {name: everything, namespace: elsewhere, port: 65535, scheme: rediss, path: /2, query: a=b}
    insecureSkipTLSVerify: true
    caBundle: Q0E=
    serverName: everything.example.org
  secret: {name: auth, apiGroup: '', kind: Secret, namespace: elsewhere}
  tlsSecret: {name: certificates}
  secretTransforms:
  - addKey: {key: user, value: bWU=}
  - addKey: {key: user, stringValue: me}
  - addKeysFrom: {secretRef: {name: more, namespace: elsewhere}}
  - removeKey: {key: user}
  parameters:
    apiVersion: config.kubedb.com/v1alpha1
    kind: RedisConfiguration
    stash: {addon: {backupTask: {name: redis-backup-7.0.5, params: [{name: args, value: ''}]}, restoreTask: {name: redis-restore-7.0.5}}}
---
apiVersion: stash.appscode.com/v1alpha1
kind: Repository
metadata: {name: azure}
spec:
  backend: {azure: {container: backups, prefix: /a, maxConnections: 4}, storageSecretName: keys}
  wipeOut: true
  usagePolicy: {allowedNamespaces: {from: Selector, selector: {matchLabels: {team: shop}, matchExpressions: [{key: stage, operator: In, values: [live]}]}}}
---
{apiVersion: stash.appscode.com/v1alpha1, kind: Repository, metadata: {name: b2}, spec: {backend: {b2: {bucket: b, prefix: p, maxConnections: 2}, storageSecretName: k}}}
---
{apiVersion: stash.appscode.com/v1alpha1, kind: Repository, metadata: {name: gcs}, spec: {backend: {gcs: {bucket: b, prefix: p, maxConnections: 2}, storageSecretName: k}, usagePolicy: {allowedNamespaces: {from: All}}}}
---
{apiVersion: stash.appscode.com/v1alpha1, kind: Repository, metadata: {name: local}, spec: {backend: {local: {persistentVolumeClaim: {claimName: disk}, mountPath: /safe, subPath: p}, storageSecretName: k}}}
---
{apiVersion: stash.appscode.com/v1alpha1, kind: Repository, metadata: {name: nfs}, spec: {backend: {local: {nfs: {server: files.example.org, path: /safe}, mountPath: /safe}}}}
---
{apiVersion: stash.appscode.com/v1alpha1, kind: Repository, metadata: {name: rest}, spec: {backend: {rest: {url: 'https://rest.example.org'}, storageSecretName: k}}}
---
{apiVersion: stash.appscode.com/v1alpha1, kind: Repository, metadata: {name: s3}, spec: {backend: {s3: {endpoint: 'https://store:9000', bucket: b, insecureTLS: true}, storageSecretName: k}}}
---
{apiVersion: stash.appscode.com/v1alpha1, kind: Repository, metadata: {name: swift}, spec: {backend: {swift: {container: c, prefix: p}, storageSecretName: k}}}
---
apiVersion: stash.appscode.com/v1beta1
kind: BackupConfiguration
metadata: {name: everything}
spec:
  driver: Restic
  schedule: '@daily'
  timeZone: Europe/Berlin
  paused: true
  backupHistoryLimit: 3
  timeOut: 30m
  retryConfig: {maxRetry: 2, delay: 5m}
  repository: {name: azure, namespace: elsewhere}
  target:
    ref: {apiVersion: apps/v1, kind: StatefulSet, name: files, namespace: elsewhere}
    alias: app
    paths: [/data]
    volumeMounts: [{name: data, mountPath: /data, subPath: a, readOnly: true}]
    exclude: ['*.tmp']
    args: [--ignore-inode]
    replicas: 2
    snapshotClassName: fast
  retentionPolicy: {name: all, keepLast: 0, keepHourly: 24, keepTags: [keep], prune: true, dryRun: true}
  tempDir: {medium: Memory, sizeLimit: 1Gi, disableCaching: true}
  interimVolumeTemplate:
    metadata: {name: between, labels: {a: b}}
    spec: {accessModes: [ReadWriteOnce], storageClassName: fast, resources: {requests: {storage: 1Gi}}}
  hooks:
    preBackup: {exec: {command: [sync]}, containerName: main}
    postBackup:
      executionPolicy: OnFinalRetryFailure
      httpPost:
        host: hooks.example.org
        port: 443
        path: /tell
        scheme: HTTPS
        httpHeaders: [{name: X-From, value: backup}]
        body: '{{ .Status.Phase }}'
        form: [{key: a, values: [b, c]}]
  runtimeSettings:
    container:
      env: [{name: TMPDIR, value: /tmp}, {name: WORD, valueFrom: {secretKeyRef: {name: s, key: k}}}]
      envFrom: [{configMapRef: {name: settings}}]
      securityContext: {runAsNonRoot: true, capabilities: {drop: [ALL]}}
      livenessProbe: {httpGet: {path: /, port: http}, periodSeconds: 5}
      readinessProbe: {tcpSocket: {port: 80}}
      lifecycle: {preStop: {exec: {command: [sync]}}}
      nice: {adjustment: 5}
      ionice: {class: 2, classData: 4}
    pod:
      podLabels: {a: b}
      podAnnotations: {a: b}
      nodeSelector: {disk: ssd}
      serviceAccountName: backup
      serviceAccountAnnotations: {a: b}
      automountServiceAccountToken: false
      nodeName: one
      imagePullSecrets: [{name: registry}]
      affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}
      schedulerName: other
      tolerations: [{key: a, operator: Exists, effect: NoSchedule, tolerationSeconds: 5}]
      priorityClassName: high
      priority: 7
      readinessGates: [{conditionType: ready}]
      runtimeClassName: kata
      enableServiceLinks: false
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]
---
apiVersion: stash.appscode.com/v1beta1
kind: RestoreSession
metadata: {name: everything}
spec:
  driver: VolumeSnapshotter
  repository: {name: azure, namespace: elsewhere}
  timeOut: 1h
  target:
    ref: {apiVersion: apps/v1, kind: StatefulSet, name: files}
    alias: app
    replicas: 2
    volumeMounts: [{name: data, mountPath: /data}]
    rules:
    - {targetHosts: [host-0, host-1], sourceHost: host-2, snapshots: [1a2b3c4d]}
    - {paths: [/data]}
  hooks:
    preRestore: {tcpSocket: {port: 6379}}
    postRestore: {httpGet: {path: /done, port: http}, executionPolicy: OnSuccess}
  tempDir: {medium: ''}
---
apiVersion: stash.appscode.com/v1beta1
kind: BackupSession
metadata: {name: everything}
spec: {invoker: {apiGroup: stash.appscode.com, kind: BackupConfiguration, name: everything}, retryLeft: 2}
";

/// Of the cluster, not of a namespace.
const EVERYWHERE: &str = "
apiVersion: stash.appscode.com/v1beta1
kind: BackupBlueprint
metadata: {name: each-redis}
spec:
  backend: {gcs: {bucket: b, prefix: '/${TARGET_NAMESPACE}/${TARGET_APP_RESOURCE}/${TARGET_NAME}'}, storageSecretName: k}
  wipeOut: true
  usagePolicy: {allowedNamespaces: {from: Same}}
  backupNamespace: a
  repoNamespace: b
  schedule: '*/5 * * * *'
  timeZone: UTC
  task: {name: redis-backup-7.0.5, params: [{name: args, value: a}]}
  retentionPolicy: {name: keep-last-5, keepLast: 5, prune: true}
  runtimeSettings: {pod: {podLabels: {a: b}}}
  tempDir: {sizeLimit: 1}
  interimVolumeTemplate: {spec: {accessModes: [ReadWriteOnce]}}
  backupHistoryLimit: 1
  timeOut: 1h
  retryConfig: {maxRetry: 1}
  hooks: {preBackup: {exec: {command: [sync]}}}
---
apiVersion: stash.appscode.com/v1beta1
kind: Task
metadata: {name: pvc-like}
spec:
  steps: [{name: pvc-like, params: [{name: outputDir, value: /out}]}, {name: update-status}]
  volumes: [{name: '${targetVolume}', persistentVolumeClaim: {claimName: '${TARGET_NAME}'}}]
---
apiVersion: stash.appscode.com/v1beta1
kind: Function
metadata: {name: pvc-like}
spec:
  image: example.org/pvc:1
  command: [run]
  args: ['--host=${HOSTNAME:=}']
  workingDir: /
  volumeMounts: [{name: '${targetVolume}', mountPath: '${TARGET_MOUNT_PATH}'}]
  runtimeSettings: {container: {nice: {adjustment: 5}}}
";

#[tokio::test]
async fn manifests_are_taken_as_they_are_and_nothing_is_lost() {
    let (rig, _) = defined("as-they-are").await;
    let _free = rig.whole.read().await;
    for text in [GUIDE, ALL, EVERYWHERE] {
        // By the server's side, which is how GitOps does it, and without, which is how people do.
        for how in [&["apply", "-f", "-"][..], &["apply", "--server-side", "--force-conflicts", "-f", "-"]] {
            let (done, _, told) = kubectl(rig, &[how, &["-n", "as-they-are"]].concat(), text).await;
            assert!(done && told.is_empty(), "{told}");
        }
        let sent: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
        let mut lost = Vec::new();
        for sent in sent {
            let kind = format!("{}.{}", sent["kind"], sent["apiVersion"]).replace('"', "");
            let (kind, name) =
                (kind.split('.').next().expect("a kind"), sent["metadata"]["name"].as_str().expect("a name"));
            let (done, stored, told) = kubectl(rig, &["-n", "as-they-are", "get", kind, name, "-o", "json"], "").await;
            assert!(done, "{told}");
            missing(&sent, &serde_json::from_str(&stored).expect("JSON"), &format!("{kind} {name}"), &mut lost);
        }
        assert!(lost.is_empty(), "{lost:#?}");
    }
}

#[tokio::test]
async fn a_null_is_taken() {
    let (rig, _) = defined("nulls").await;
    let _free = rig.whole.read().await;
    let text = "
apiVersion: stash.appscode.com/v1alpha1
kind: Repository
metadata: {name: nulls, creationTimestamp: null}
spec: {backend: {s3: {bucket: b, prefix: null}, local: null, storageSecretName: k}, usagePolicy: null}
---
apiVersion: stash.appscode.com/v1beta1
kind: RestoreSession
metadata: {name: nulls}
spec: {repository: {name: nulls}, timeOut: null, interimVolumeTemplate: {metadata: {creationTimestamp: null}, spec: {}, status: {}}}
";
    let (done, _, told) = kubectl(rig, &["apply", "--server-side", "-n", "nulls", "-f", "-"], text).await;
    assert!(done && told.is_empty(), "{told}");
    let (_, stored, told) =
        kubectl(rig, &["get", "repo,restore", "-n", "nulls", "-o", "jsonpath={.items[*].spec}"], "").await;
    assert!(stored.contains("storageSecretName"), "{stored}{told}");
}
