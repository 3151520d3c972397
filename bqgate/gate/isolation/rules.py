"""Say for each of BigQuery's methods how a call of it is kept within the caller's scope. One row each.

Read by boundary.py; a test walks routes.METHODS, and a method without a row is refused.

    SUBMITS        a job: its body and its query are judged by the handler's steps
    OWN_JOB        only where the job bears the customer's label
    JOB_LIST, PROJECT_LIST, DATASET_LIST
                   answered by BigQuery, less what is not the customer's
    PROJECT        only where the customer may run jobs in the project
    DATASET        only where the dataset in the URL is in scope
    TABLE_READ     the same, or the table is the result of an own query
    ARGUMENTS      as DATASET, and the body has the method's own arguments only
    …_BODY         as DATASET, and the body names and sets nothing beyond it
    REFUSED        would give others access, or take rules away that an owner has set
"""

from enum import StrEnum


class Rule(StrEnum):
    """How a method is kept within the scope."""

    SUBMITS = "submits"
    OWN_JOB = "own_job"
    JOB_LIST = "job_list"
    PROJECT_LIST = "project_list"
    DATASET_LIST = "dataset_list"
    PROJECT = "project"
    DATASET = "dataset"
    TABLE_READ = "table_read"
    ARGUMENTS = "arguments"
    DATASET_BODY = "dataset_body"
    TABLE_BODY = "table_body"
    ROUTINE_BODY = "routine_body"
    MODEL_BODY = "model_body"
    REFUSED = "refused"


# Whose bodies are judged. The methods of other rules have none, and what comes all the same goes nowhere.
WITH_BODIES = frozenset(
    {Rule.SUBMITS, Rule.ARGUMENTS, Rule.DATASET_BODY, Rule.TABLE_BODY, Rule.ROUTINE_BODY, Rule.MODEL_BODY}
)

RULES: dict[str, Rule] = {
    "datasets.delete": Rule.DATASET,
    "datasets.get": Rule.DATASET,
    "datasets.insert": Rule.DATASET_BODY,
    "datasets.list": Rule.DATASET_LIST,
    "datasets.patch": Rule.DATASET_BODY,
    "datasets.undelete": Rule.ARGUMENTS,
    "datasets.update": Rule.DATASET_BODY,
    "jobs.cancel": Rule.OWN_JOB,
    "jobs.delete": Rule.OWN_JOB,
    "jobs.get": Rule.OWN_JOB,
    "jobs.getQueryResults": Rule.OWN_JOB,
    "jobs.insert": Rule.SUBMITS,
    "jobs.list": Rule.JOB_LIST,
    "jobs.query": Rule.SUBMITS,
    "models.delete": Rule.DATASET,
    "models.get": Rule.DATASET,
    "models.list": Rule.DATASET,
    "models.patch": Rule.MODEL_BODY,
    "projects.getServiceAccount": Rule.PROJECT,
    "projects.list": Rule.PROJECT_LIST,
    "routines.delete": Rule.DATASET,
    "routines.get": Rule.DATASET,
    "routines.getIamPolicy": Rule.ARGUMENTS,
    "routines.insert": Rule.ROUTINE_BODY,
    "routines.list": Rule.DATASET,
    "routines.setIamPolicy": Rule.REFUSED,
    "routines.testIamPermissions": Rule.ARGUMENTS,
    "routines.update": Rule.ROUTINE_BODY,
    "rowAccessPolicies.batchDelete": Rule.REFUSED,
    "rowAccessPolicies.delete": Rule.REFUSED,
    "rowAccessPolicies.get": Rule.DATASET,
    "rowAccessPolicies.getIamPolicy": Rule.ARGUMENTS,
    "rowAccessPolicies.insert": Rule.REFUSED,
    "rowAccessPolicies.list": Rule.DATASET,
    "rowAccessPolicies.testIamPermissions": Rule.ARGUMENTS,
    "rowAccessPolicies.update": Rule.REFUSED,
    "tabledata.insertAll": Rule.ARGUMENTS,
    "tabledata.list": Rule.TABLE_READ,
    "tables.delete": Rule.DATASET,
    "tables.get": Rule.TABLE_READ,
    "tables.getIamPolicy": Rule.ARGUMENTS,
    "tables.insert": Rule.TABLE_BODY,
    "tables.list": Rule.DATASET,
    "tables.patch": Rule.TABLE_BODY,
    "tables.setIamPolicy": Rule.REFUSED,
    "tables.testIamPermissions": Rule.ARGUMENTS,
    "tables.update": Rule.TABLE_BODY,
}
